"""Countries: ISO 3166-1 alpha-3, and the codes that ICAO Doc 9303 part 3 section 5 adds."""

from typing import Final

from vault.domain.errors import InvalidFieldError

SPECIMEN: Final = "UTO"
"""ICAO's specimen state: accepted by development vaults only."""
_ISO: Final = frozenset(
    """
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR BHS BIH BLM BLR
    BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL COM CPV CRI CUB CUW CXR CYM CYP
    CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB
    GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN
    KAZ KEN KGZ KHM KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD
    MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN
    PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM
    SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR
    UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE
    """.split()
)
_ICAO: Final = frozenset(
    "GBD GBN GBO GBP GBS RKS EUE UNO UNA UNK XBA XIM XCC XCE XCO XEC XPO XES XMP XOM XDC XXA XXB XXC XXX IAO".split()
)
_GERMANY_IN_MRZ: Final = "D"


def parse_country(code: object, pointer: str, *, specimen: bool) -> str:
    """Return a country code; Germany's MRZ code D becomes DEU.

    Raises:
        InvalidFieldError: not a known code.
    """
    if code == _GERMANY_IN_MRZ:
        return "DEU"
    if isinstance(code, str) and (code in _ISO or code in _ICAO or (specimen and code == SPECIMEN)):
        return code
    raise InvalidFieldError(pointer, "a three-letter country code of ISO 3166-1 or ICAO Doc 9303")

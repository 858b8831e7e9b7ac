"""`python -m keys` is `idvault-keys`."""

from keys.cli.main import main

if __name__ == "__main__":
    main()

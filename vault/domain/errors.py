"""What the domain refuses: the field and the rule are named, the value never is."""


class DomainError(ValueError):
    """Base of every error of this package."""


class InvalidFieldError(DomainError):
    """A field breaks a rule.

    Attributes:
        pointer: the field, as a JSON pointer (RFC 6901).
        rule: the rule, a constant sentence.
    """

    def __init__(self, pointer: str, rule: str) -> None:
        super().__init__(f"{pointer}: {rule}")
        self.pointer, self.rule = pointer, rule

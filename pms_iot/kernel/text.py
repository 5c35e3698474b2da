"""Words that people read, in every language that pms_iot speaks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """One thing said in Chinese and in English."""

    zh: str
    en: str

    def to(self, language: str) -> str:
        """The words for a reader of `language` (`zh`, `zh-CN`, `en`, …); English for any other."""
        return self.zh if language.startswith("zh") else self.en

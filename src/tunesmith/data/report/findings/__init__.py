"""What ruins runs, found in a survey of the rows before any training.

Each check is a pure function of a Survey. A finding says what was seen, in which rows, and what to do.
"""

from __future__ import annotations

from tunesmith.data.report.findings.amounts import AMOUNT_CHECKS
from tunesmith.data.report.findings.answers import ANSWER_CHECKS
from tunesmith.data.report.findings.contents import CONTENT_CHECKS
from tunesmith.data.report.findings.documents import DOCUMENT_CHECKS
from tunesmith.data.report.findings.finding import SEVERITIES, Finding, Severity
from tunesmith.data.report.findings.preferences import PREFERENCE_CHECKS
from tunesmith.data.report.findings.template import TEMPLATE_CHECKS
from tunesmith.data.report.survey import Survey

__all__ = ["Finding", "Severity", "find"]

_CHECKS = (*TEMPLATE_CHECKS, *ANSWER_CHECKS, *PREFERENCE_CHECKS, *DOCUMENT_CHECKS, *AMOUNT_CHECKS, *CONTENT_CHECKS)


def find(survey: Survey) -> list[Finding]:
    """Everything that looks wrong, the worst first."""
    found = [finding for check in _CHECKS for finding in check(survey)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))

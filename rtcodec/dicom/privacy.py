"""
What of a DICOM data set goes with its samples, and which data sets are refused (PS3.15 Annex E).

Tags go by an allow-list; what may have a name in its samples is refused. Nothing here says what a
data set says.
"""

from typing import Any, Final

from rtcodec.dicom.tags import (
    DISPLAY,
    LOSSY_METHODS,
    MAYBE_LOSSY,
    OFTEN_BURNED_IN,
    OFTEN_BURNED_IN_CLASSES,
    SAMPLES,
    TEXT_VRS,
)
from rtcodec.errors import InputError

UIDS_MAX: Final = 1 << 17
"Remembered: a few dozen megabytes."

_OVERLAYS: Final = range(0x6000, 0x6020, 2)


class NewUids:
    """
    New identifiers for those that are not to be told.

    The same one gets the same new one, so that the pictures of a study stay together, until
    UIDS_MAX others came after it.
    """

    def __init__(self) -> None:
        self._new: dict[str, str] = {}

    def of(self, uid: str) -> str:
        """Return what stands for *uid*; for an empty one, something else each time."""
        import pydicom.uid

        known = self._new.get(uid)
        new = known or str(pydicom.uid.generate_uid())
        if known or not uid:
            return new
        while len(self._new) >= UIDS_MAX:
            del self._new[next(iter(self._new))]
        return self._new.setdefault(uid, new)


def check_burned_in(dataset: Any) -> None:
    """
    Refuse a data set that may have a name in its samples.

    That is one that says so; one of a kind that often has and does not say that it has not; and
    one with an overlay in bits of its samples.

    Raises:
        InputError: If it may.
    """
    said = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
    modality = str(dataset.get("Modality", "")).strip().upper()
    sop_class = str(dataset.get("SOPClassUID", "")).strip()
    is_often = modality in OFTEN_BURNED_IN or sop_class.startswith(OFTEN_BURNED_IN_CLASSES)
    if said == "YES" or (said != "NO" and is_often) or _has_embedded_overlay(dataset):
        raise InputError(
            "may have a name burnt into its samples; --allow-burned-in takes it all the same"
        )


def kept_tags(dataset: Any, syntax: Any, *, keep_identity: bool) -> dict[str, Any]:
    """
    Return what goes along, in DICOM's JSON model (PS3.18 F).

    Args:
        dataset: pydicom's.
        syntax: Its transfer syntax: one with loss is told where samples are stored without one.
        keep_identity: Whether all but the samples does.
    """
    import pydicom

    def strip(part: Any) -> Any:
        kept = pydicom.Dataset()
        for element in part:
            if element.keyword in SAMPLES or not (keep_identity or _is_for_display(element)):
                continue
            if element.VR == "SQ":
                kept.add_new(element.tag, "SQ", [strip(item) for item in element.value])
            else:
                kept.add(element)
        return kept

    stripped = strip(dataset)
    _mark_lossy(stripped, str(syntax))
    return dict(stripped.to_json_dict())


def uids_of(dataset: Any, new: NewUids, *, keep_identity: bool) -> dict[str, str]:
    """Return the identifiers of the picture; *new* ones where it is to have no identity."""
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    own = {name: str(dataset.get(name) or "") for name in names}
    return {name: own[name] if keep_identity and own[name] else new.of(own[name]) for name in names}


def _is_for_display(element: Any) -> bool:
    """Say whether an element is in the list and of its kind: no words where numbers belong."""
    import pydicom.datadict

    if element.keyword not in DISPLAY:
        return False
    usual = pydicom.datadict.dictionary_VR(element.tag)
    return usual == element.VR or element.VR not in TEXT_VRS


def _has_embedded_overlay(dataset: Any) -> bool:
    return any((group, 0x0010) in dataset and (group, 0x3000) not in dataset for group in _OVERLAYS)


def _mark_lossy(dataset: Any, syntax: str) -> None:
    """Keep what a transfer syntax says of loss, PS3.3 C.7.6.1.1.5: it is not stored with it."""
    method = LOSSY_METHODS.get(syntax)
    said = dataset.get("LossyImageCompression")
    if method is None or said == "01" or (said == "00" and syntax in MAYBE_LOSSY):
        return
    dataset.LossyImageCompression = "01"
    if not dataset.get("LossyImageCompressionMethod"):
        dataset.LossyImageCompressionMethod = method

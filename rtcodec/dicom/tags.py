"""
Which parts of a DICOM file go with its samples, and which must not (PS3.15 Annex E).

By default only what is needed to show the picture rightly: nothing that was typed in, no name,
date, place or number of a person, study or device. What is not in the list is left out.
"""

from typing import Final

DISPLAY: Final = frozenset({
    "SOPClassUID", "Modality", "ImageType",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "PatientOrientation", "Laterality", "ImageLaterality", "ViewPosition",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "ModalityLUTType",
    "LUTDescriptor", "LUTData", "PresentationLUTShape", "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "FrameTime", "FrameTimeVector", "FrameIncrementPointer", "CineRate",
    "RecommendedDisplayFrameRate", "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence",
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
})  # fmt: skip
"Keywords that are kept, in sequences too."

SAMPLES: Final = frozenset({
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
})  # fmt: skip
"Keywords of samples themselves: never kept, written anew."

OFTEN_BURNED_IN: Final = frozenset({"US", "SC", "OT", "XC", "ES", "GM", "SM", "OP", "IVUS"})
"Modalities whose pictures often have a name in their samples, unless the file says they do not."

OFTEN_BURNED_IN_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture: screens of whatever modality
    "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6.",  # ultrasound
)  # fmt: skip
"SOP classes of which the same holds, by how they begin."

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"})
"Value representations that may be any words."

LOSSY_METHODS: Final = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
    "1.2.840.10008.1.2.4.112": "ISO_18181_1",
}
"Transfer syntaxes that may lose something, and the method (0028,2114)."

MAYBE_LOSSY: Final = frozenset(LOSSY_METHODS) - {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
"Those of which a file may say that it lost nothing."

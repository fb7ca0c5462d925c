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

"""
Pictures of 8 to 16 bits from DICOM, NumPy, PNG and TIFF, and back (extra: medical).

Files in, samples out, never more of them than limits allow. No message says anything that a file
says of a patient.
"""

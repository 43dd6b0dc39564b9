"""The written answer shows an attachment that is not there, which ends the making of every page of the class."""

CELLS = {"explain": "![a picture](attachment:nothing.svg) Half of the maximum is best at 3 bits."}

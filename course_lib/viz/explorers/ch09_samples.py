"""The example's 256 weights as llama.cpp writes them in the types that the course only reads, all columns alike.

Its first block takes up to 40 seconds, so the bytes stand here; `tests/test_ch09.py` has llama.cpp write them again.
"""

BLOCKS = {
    "IQ3_XXS": (
        "881f8404c528c7fc9c97853c70f3424f42fc53652a93155dc62ae26120c6e792e31e0d59a1f00f5bfd6e46173b4f3a56"
        "6d5704e56ccee45c25a809ae46134a481ccfa74b55a587fed999ceb79470d5885aab0047708c915caffac82b34629af8"
        "98df"
    ),
    "IQ3_S": (
        "371fa773883962f6dd35a871d09d879177f69c76422595479242ccc43792d37b7c331ba23ce51eaaf8e0dc297032c505"
        "c9a784b92aa4a7113c110f5cdc21808693b0b48848594c20be82251755ab877cf74e0e67d28455512a5b028e41611329"
        "b95540d550119af163fcccc9f9d6"
    ),
    "IQ2_XS": (
        "3b25234e752ecbab31550a0ea0fbafcec79d469c47dec2a4bd081daa932333d560b4ad00b11de9821bc6d522ae72c87a"
        "8faa6891feaefba08623223557e200c645f99ca898c989f857ea"
    ),
    "IQ2_S": (
        "c82426b2a7320aae1a9855a45851f3368d82188ab53c7fe2f1d9c2d740235c7e0072251755ab877cf74e0e67d2845551"
        "2a5b028e41611329b95540d550119af163fcb0dc500d1d29d783aba887da79e877f8"
    ),
    "IQ1_S": ("8030fc9302e0f9dba1e8fa7a3ab4ddd4a71875af52b93023c00150aa2f601a70a004a361ab5af348f666c5462dfd86bbd9d0"),
    "IQ1_M": (
        "fc9302f813dba1e8267a3ab4ddd4795f75a752b90e6ec0e250aa2fd21a68a00443865c52ef43664f9533f52c867e398b"
        "dde61ac9db1e1239"
    ),
}

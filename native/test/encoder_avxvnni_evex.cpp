// The encoder's AVX-VNNI kernels with AVX-512's encoding of VPDPBUSD, under another name.
#define MAXSIM_VPDPBUSD "%{evex%} vpdpbusd"
#define kEncoderAvxVnni kEncoderAvxVnniEvex
#include "encoder/kernels/avxvnni.cpp"

// The AVX-VNNI kernels with one instruction encoded as AVX-512 VL + VNNI encode it, so that a CPU
// which has VPDPBUSD only in that form runs all the rest of maxsim/kernels/avxvnni.cpp.
#define MAXSIM_VPDPBUSD "%{evex%} vpdpbusd"
#define kMaxsimAvxVnni kMaxsimAvxVnniEvex
#include "maxsim/kernels/avxvnni.cpp"

// AVX-512 kernels (F, BW, VL, DQ, VNNI).
#include <string.h>

#include "encoder/kernels/table.h"
#include "encoder/kernels/zmm.h"

const EncoderKernels kEncoderAvx512 = KernelsOf<Zmm>("avx512");

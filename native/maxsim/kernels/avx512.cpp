// AVX-512 kernels (F, BW, VL, DQ, VNNI): the passes of passes.h over 512-bit vectors.
#include "maxsim/kernels/passes.h"
#include "maxsim/kernels/zmm.h"

// The cache lines of a tile of 12 rows per 4 dims: 3 of floats, and 1.5 of 16-bit floats.
const MaxsimKernels kMaxsimAvx512 = {"avx512",
                                     ScoreBytes<Zmm, false>,
                                     ScoreBytes<Zmm, true>,
                                     ScoreResidual<Zmm>,
                                     ScoreFloats<Zmm, F32Source<3>>,
                                     ScoreFloats<Zmm, HalfSource<2, Zmm::FromHalves>>,
                                     ScoreFloats<Zmm, HalfSource<2, Zmm::FromBfloat16s>>,
                                     FillTable<Zmm>,
                                     Nearest<Zmm>,
                                     EncodeInt8,
                                     ScanCodes,
                                     ToBytes};

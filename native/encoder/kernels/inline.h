// How kernel files ask the compiler for what it would not do by itself.
#ifndef MAXSIM_ENCODER_KERNELS_INLINE_H_
#define MAXSIM_ENCODER_KERNELS_INLINE_H_

#if defined(__GNUC__)
#define ENCODER_INLINE inline __attribute__((always_inline))
#define ENCODER_NOINLINE __attribute__((noinline))
#define ENCODER_UNROLL _Pragma("GCC unroll 16")
#else
#define ENCODER_INLINE __forceinline
#define ENCODER_NOINLINE __declspec(noinline)
#define ENCODER_UNROLL
#endif

#endif  // MAXSIM_ENCODER_KERNELS_INLINE_H_

// The CRC32 instruction of SSE4.2; called only where Cpu().sse42 says so.
#ifndef MAXSIM_PLATFORM_CRC32C_SSE42_H_
#define MAXSIM_PLATFORM_CRC32C_SSE42_H_

#include <stddef.h>
#include <stdint.h>

namespace maxsim {

// Three streams of this many bytes run side by side (the instruction's latency is 3, its rate 1).
inline constexpr size_t kCrc32cStreamBytes = 1024;

// `state` and the result are inverted checksums. past_stream[i][b] is the state byte i = b, moved
// past kCrc32cStreamBytes zero bytes.
uint32_t Crc32cSse42(const uint8_t* data, size_t size, uint32_t state,
                     const uint32_t (*past_stream)[256]);

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_CRC32C_SSE42_H_

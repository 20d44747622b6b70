// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of everything the index stores.
#ifndef MAXSIM_PLATFORM_CRC32C_H_
#define MAXSIM_PLATFORM_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace maxsim {

// Crc32c("123456789") == 0xE3069283. Pass an earlier result as `crc` to continue it.
uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0);

// The same without the CPU's CRC instruction: the oracle of the tests.
uint32_t Crc32cPortable(const void* data, size_t size, uint32_t crc = 0);

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_CRC32C_H_

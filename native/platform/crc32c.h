// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of everything the index stores.
#ifndef MAXSIM_PLATFORM_CRC32C_H_
#define MAXSIM_PLATFORM_CRC32C_H_

#include <cstddef>
#include <cstdint>
#include <optional>

namespace maxsim {

// Crc32c("123456789") == 0xE3069283. Pass an earlier result as `crc` to continue it.
uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0);

// The same without the CPU's CRC instruction: the oracle of the tests.
uint32_t Crc32cPortable(const void* data, size_t size, uint32_t crc = 0);

// Which single bit makes the difference between the checksum found of `size` bytes and the one that
// was stored of them; `syndrome` is one xor the other. A result below 8 * size is that bit of the
// bytes (bit i % 8 of byte i / 8), one beyond is bit result - 8 * size of the stored checksum.
//
// No two words of fewer than 2^31 bits, checksum included, differ in fewer than 4 bits. So of
// one flipped bit the answer is right, and two are never taken for one. Larger damage looks like a
// flipped bit with a probability of 8 * size / 2^32, which is the caller's to rule out. None for a
// syndrome of 0, or more than kMaxCorrectableBytes. Takes about a nanosecond a bit.
inline constexpr size_t kMaxCorrectableBytes = (size_t{1} << 28) - 8;
std::optional<uint64_t> FindFlippedBit(size_t size, uint32_t syndrome);

}  // namespace maxsim

#endif  // MAXSIM_PLATFORM_CRC32C_H_

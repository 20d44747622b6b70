// The file of a codebook: the centroids and weights that all segments of an index with a residual
// codec share. docs/format.md says the same in words; both change together.
#ifndef MAXSIM_INDEX_CODEBOOK_FILE_H_
#define MAXSIM_INDEX_CODEBOOK_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "maxsim/codebook.h"
#include "platform/mapped_file.h"
#include "platform/status.h"

namespace maxsim {

inline constexpr char kCodebookMagic[8] = {'M', 'A', 'X', 'S', 'I', 'M', 'C', 'B'};
inline constexpr uint32_t kCodebookVersion = 1;

// Followed by the centroids, [centroid_count][dim rounded up to 4] bytes.
struct CodebookHeader {
  char magic[8];
  uint32_t version;
  uint32_t header_size;  // 128
  uint32_t bits;         // 4, 2 or 1
  uint32_t dim;
  uint32_t centroid_count;
  uint32_t centroid_shift;
  float scale;
  uint32_t rows_crc32c;
  uint64_t trained_tokens;
  uint64_t seed;
  int8_t weights[16];
  uint8_t reserved[52];
  uint32_t crc32c;  // of the 124 bytes before it
};
static_assert(sizeof(CodebookHeader) == 128 && std::is_trivially_copyable_v<CodebookHeader>);

// The header's checksum, which covers the centroids' and identifies the codebook.
uint32_t CodebookCrc32c(const Codebook& codebook);

// Its name survives from the next FlushDirectory on.
Status WriteCodebook(const std::string& path, const Codebook& codebook);

// Verifies every byte. CORRUPT_INDEX, UNSUPPORTED_FORMAT, IO_ERROR (`*missing`: no such file).
Status ReadCodebook(const std::string& path, std::shared_ptr<const Codebook>* codebook,
                    bool* missing);
// The same of a file that is mapped, or copied into memory.
Status ParseCodebook(const MappedFile& file, std::shared_ptr<const Codebook>* codebook);

}  // namespace maxsim

#endif  // MAXSIM_INDEX_CODEBOOK_FILE_H_

// The C++ side of `npm run bench`: kernels, peaks and calls by name, on command (measurement.h).
//   kernels_bench <data folder> <store MiB> [<directory> <scale> <file> <documents> <tokens> <crc>]
#include <cstdio>
#include <cstdlib>

#include "kernels.h"
#include "snapshot_call.h"

using namespace maxsim::bench;

int main(int argc, char** argv) {
  if (argc != 3 && argc != 9) {
    std::fprintf(stderr, "usage: kernels_bench <data folder> <store MiB> [<index>]\n");
    return 2;
  }
  Data data;
  if (!data.Load(argv[1])) return 1;
  Measurements measurements;
  AddPeaks(&measurements);
  AddKernels(data, static_cast<size_t>(std::atoll(argv[2])) << 20, &measurements);
  AddPreparation(data, &measurements);
  if (argc == 9) {
    const IndexSpec spec{
        .directory = argv[3],
        .file = argv[5],
        .scale = std::strtof(argv[4], nullptr),
        .documents = std::strtoull(argv[6], nullptr, 10),
        .tokens = std::strtoull(argv[7], nullptr, 10),
        .header_crc = static_cast<uint32_t>(std::strtoul(argv[8], nullptr, 10)),
    };
    if (!AddSnapshotCalls(data, spec, &measurements)) return 1;
  }
  return Serve(measurements);
}

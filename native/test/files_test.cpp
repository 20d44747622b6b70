// The other files of an index: tombstones and locks, and disks that are full.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "index_fixtures.h"
#include "platform/durable_file.h"
#include "platform/lock_file.h"

using namespace maxsim;
namespace fs = std::filesystem;

TEST_CASE("tombstones survive the trip and every broken byte or length of theirs is found") {
  const TempDirectory directory;
  const std::string path = directory / "t";
  const std::vector<uint32_t> dead = {0, 7, 8, 12, 12};
  uint64_t count = 0;
  REQUIRE(Tombstones::Write(path, 13, dead, &count).ok());
  CHECK(count == 4);
  std::shared_ptr<const Tombstones> tombstones;
  REQUIRE(Tombstones::Open(path, 13, 4, &tombstones).ok());
  CHECK(tombstones->Ordinals() == std::vector<uint32_t>{0, 7, 8, 12});
  CHECK(tombstones->IsDead(8));
  CHECK(!tombstones->IsDead(9));
  CHECK(IsRefusal(Tombstones::Open(path, 13, 3, &tombstones)));
  CHECK(IsRefusal(Tombstones::Open(path, 14, 4, &tombstones)));
  const std::vector<uint8_t> whole = ReadAll(path);
  for (size_t i = 0; i < whole.size(); i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      std::vector<uint8_t> broken = whole;
      broken[i] = static_cast<uint8_t>(broken[i] ^ (1u << bit));
      WriteAll(path, broken);
      REQUIRE_MESSAGE(IsRefusal(Tombstones::Open(path, 13, 4, &tombstones)), "byte ", i);
    }
    WriteAll(path, std::vector<uint8_t>(whole.begin(), whole.begin() + static_cast<long>(i)));
    REQUIRE_MESSAGE(IsRefusal(Tombstones::Open(path, 13, 4, &tombstones)), "length ", i);
  }
  CHECK(!Tombstones::Write(path, 13, std::vector<uint32_t>{13}, &count).ok());
}

namespace {

int fault_after = 0;
std::string fault_operation;

int FailOnce(const char* operation, const char*) {
  if (fault_after-- > 0) return 0;
  fault_operation = operation;
  return ENOSPC;
}

}  // namespace

TEST_CASE("a full disk at any operation is named and leaves nothing behind before the rename") {
  const TempDirectory directory;
  const Corpus corpus = SmallCorpus(5);
  bool done = false;
  for (int operations = 0; !done; operations++) {
    fault_after = operations;
    fault_operation.clear();
    SetFaultHook(FailOnce);
    FloatDocuments source = corpus.Source(kInt8Format);
    SegmentSummary summary;
    const Status status = WriteSegment(directory / "s", kInt8Format, source, &summary);
    SetFaultHook(nullptr);
    done = status.ok();
    if (done) continue;
    CHECK(CodeOf(status) == "DISK_FULL");
    CHECK(status.message().find("the disk is full (ENOSPC") != std::string::npos);
    CHECK(directory.FileCount() == 0);
  }
}

TEST_CASE("names are durable before the file that lists them has its own, and it when it returns") {
  const TempDirectory directory;
  static std::vector<std::string> operations;
  operations.clear();
  SetFaultHook([](const char* operation, const char* path) {
    operations.push_back(std::string(operation) + " " + fs::path(path).filename().string());
    return 0;
  });
  const uint8_t bytes[] = {1, 2, 3};
  const std::string temporary = ".tmp-" + std::to_string(getpid());
  const std::string place = fs::path(directory.str()).filename().string();
  REQUIRE(WriteFlushed(directory / "data", bytes, sizeof(bytes)).ok());
  REQUIRE(WriteDurably(directory / "list", bytes, sizeof(bytes)).ok());
  SetFaultHook(nullptr);
  CHECK(operations == std::vector<std::string>{
                          "create data" + temporary,
                          "write data" + temporary,
                          "fsync data" + temporary,
                          "rename data",
                          "create list" + temporary,
                          "write list" + temporary,
                          "fsync list" + temporary,
                          "fsync directory " + place,
                          "rename list",
                          "fsync directory " + place,
                      });
}

TEST_CASE("a file that is given up leaves a later one of the same name alone") {
  const TempDirectory directory;
  const uint8_t bytes[] = {1, 2, 3};
  std::unique_ptr<DurableFile> first, second;
  REQUIRE(DurableFile::Create(directory / "data", &first).ok());
  REQUIRE(first->Append(bytes, 1).ok());
  REQUIRE(DurableFile::Create(directory / "data", &second).ok());
  REQUIRE(second->Append(bytes, 3).ok());
  first.reset();
  REQUIRE(second->Commit().ok());
  CHECK(fs::file_size(directory / "data") == 3);
  second.reset();
  CHECK(directory.FileCount() == 1);
}

TEST_CASE("a lock excludes a second one in the same process and names the holder") {
  const TempDirectory directory;
  std::unique_ptr<LockFile> first, second;
  long pid = -1;
  REQUIRE(LockFile::Acquire(directory / "lock", &first, &pid).ok());
  const Status status = LockFile::Acquire(directory / "lock", &second, &pid);
  CHECK(std::string(status.code()) == "INDEX_LOCKED");
  CHECK(pid == static_cast<long>(getpid()));
  first.reset();
  CHECK(fs::file_size(directory / "lock") == 0);
  CHECK(LockFile::Acquire(directory / "lock", &second, &pid).ok());
  // As between the lock and the pid of a writer that follows one that was killed.
  WriteAll(directory / "lock", {'9', '9', '9', '9', '9', '9', '9', '\n'});
  const Status unnamed = LockFile::Acquire(directory / "lock", &first, &pid);
  CHECK(std::string(unnamed.code()) == "INDEX_LOCKED");
  CHECK(pid == 0);
  CHECK(unnamed.message().find("9999999") == std::string::npos);
}

#include "encoder/model_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "encoder/model_format.h"
#include "platform/crc32c.h"

namespace maxsim {
namespace {

Status Corrupt(const MappedFile& file, const char* part, uint64_t at, const std::string& what) {
  return Status::Error("INVALID_MODEL", "%s: corrupt %s at byte %llu: %s.", file.path().c_str(),
                       part, static_cast<unsigned long long>(at), what.c_str());
}

Status ReadHeader(const MappedFile& file, ModelHeader* header) {
  if (file.size() < sizeof(*header)) {
    return Corrupt(file, "header", 0,
                   "the file has " + std::to_string(file.size()) + " bytes, expected at least " +
                       std::to_string(sizeof(*header)));
  }
  std::memcpy(header, file.data(), sizeof(*header));
  if (std::memcmp(header->magic, kModelMagic, sizeof(kModelMagic)) != 0) {
    return Corrupt(file, "header", 0, "the file does not start with MAXSIMEN");
  }
  if (header->version > kModelVersion) {
    return Status::Error("UNSUPPORTED_FORMAT",
                         "%s: encoder format version %u; this release of maxsim reads version %u.",
                         file.path().c_str(), header->version, kModelVersion);
  }
  if (Crc32c(header, offsetof(ModelHeader, crc32c)) != header->crc32c) {
    return Corrupt(file, "header", offsetof(ModelHeader, crc32c),
                   "the checksum is not that of the bytes before it");
  }
  if (header->version != kModelVersion || header->header_size != sizeof(*header) ||
      header->normalise > 1) {
    return Corrupt(file, "header", 8, "version, size or flags cannot be");
  }
  if (const std::string problem = ShapeOf(*header).Problem(); !problem.empty()) {
    return Corrupt(file, "header", 16, problem);
  }
  return Status::Ok();
}

bool AllFinite(const float* values, uint64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

}  // namespace

Status EncoderModel::Open(const std::string& path, std::shared_ptr<const EncoderModel>* model,
                          bool* missing) {
  std::unique_ptr<MappedFile> file;
  const Status status = MappedFile::Open(path, &file, missing);
  return status.ok() ? Open(std::move(file), model) : status;
}

Status EncoderModel::Open(std::unique_ptr<MappedFile> file,
                          std::shared_ptr<const EncoderModel>* model) {
  std::shared_ptr<EncoderModel> opened(new EncoderModel);
  opened->file_ = std::move(file);
  Status status = opened->Validate();
  if (status.ok()) *model = std::move(opened);
  return status;
}

void EncoderModel::CopyPanels(const int8_t** panels, size_t size) {
  copied_ = HugeBuffer::Create(size);
  if (copied_ == nullptr) return;
  std::memcpy(copied_->data(), *panels, size);
  *panels = reinterpret_cast<const int8_t*>(copied_->data());
}

Status EncoderModel::Validate() {
  ModelHeader header;
  Status status = ReadHeader(*file_, &header);
  if (!status.ok()) return status;
  shape_ = ShapeOf(header);
  if (header.sections[kRecipe].size > kMaxRecipeBytes) {
    return Corrupt(*file_, "header", offsetof(ModelHeader, sections), "the recipe is too large");
  }
  const auto sizes = ModelSectionSizes(shape_, header.sections[kRecipe].size);
  const uint8_t* data = file_->data();
  uint64_t end = sizeof(header);
  for (uint32_t s = 0; s < kModelSections; s++) {
    const ModelSectionEntry& section = header.sections[s];
    const uint64_t offset = ModelAlignUp(end);
    if (section.offset != offset || section.size != sizes[s]) {
      return Corrupt(*file_, "header", offsetof(ModelHeader, sections) + s * sizeof(section),
                     std::string(kModelSectionNames[s]) + " are not where they must be");
    }
    end = offset + section.size;
  }
  if (header.file_size != end || file_->size() != end) {
    return Corrupt(*file_, "header", offsetof(ModelHeader, file_size),
                   "the file has " + std::to_string(file_->size()) + " bytes, expected " +
                       std::to_string(end));
  }
  end = sizeof(header);
  for (uint32_t s = 0; s < kModelSections; s++) {
    const ModelSectionEntry& section = header.sections[s];
    if (std::any_of(data + end, data + section.offset, [](uint8_t byte) { return byte != 0; })) {
      return Corrupt(*file_, kModelSectionNames[s], end, "padding is not zero");
    }
    if (Crc32c(data + section.offset, section.size) != section.crc32c) {
      return Corrupt(*file_, kModelSectionNames[s], section.offset, "the checksum does not fit");
    }
    end = section.offset + section.size;
  }
  for (const uint32_t s : {kWordScales, kPositions, kTypes, kNorms, kColumns, kDense}) {
    const ModelSectionEntry& section = header.sections[s];
    if (!AllFinite(reinterpret_cast<const float*>(data + section.offset), section.size / 4)) {
      return Corrupt(*file_, kModelSectionNames[s], section.offset, "a value is not finite");
    }
  }
  const auto floats = [&](ModelSection s) {
    return reinterpret_cast<const float*>(data + header.sections[s].offset);
  };
  recipe_ = {data + header.sections[kRecipe].offset, header.sections[kRecipe].size};
  words_ = data + header.sections[kWords].offset;
  word_scales_ = floats(kWordScales);
  positions_ = floats(kPositions);
  types_ = floats(kTypes);

  const size_t hidden = shape_.hidden;
  const float* norm = floats(kNorms);
  const auto next_norm = [&] {
    const EncoderNorm made = {norm, norm + hidden, shape_.epsilon, shape_.hidden};
    norm += 2 * hidden;
    return made;
  };
  embedding_norm_ = next_norm();
  auto* channels = reinterpret_cast<const int32_t*>(data + header.sections[kChannels].offset);
  const float* columns = floats(kColumns);
  auto* panels = reinterpret_cast<const int8_t*>(data + header.sections[kPanels].offset);
  // -128 would make sums that do not fit: kernel.h.
  if (std::memchr(panels, -128, sizes[kPanels]) != nullptr) {
    return Corrupt(*file_, kModelSectionNames[kPanels], header.sections[kPanels].offset,
                   "a weight is -128");
  }
  CopyPanels(&panels, sizes[kPanels]);
  sums_.resize(sizes[kColumns] / 8);
  shares_.assign(size_t{shape_.layers} * 2 * hidden, 1.f);
  int32_t* sums = sums_.data();
  float* shares = shares_.data();
  blocks_.resize(shape_.layers);
  for (Block& block : blocks_) {
    for (EncoderSplit& split : block.splits) {
      split.slots = shape_.slots;
      split.share = shares;
      for (uint32_t i = 0; i < kEncoderSlots; i++) {
        const int32_t channel = i < shape_.slots ? channels[i] : -1;
        if (channel < -1 || channel >= static_cast<int32_t>(hidden)) {
          return Corrupt(*file_, kModelSectionNames[kChannels], header.sections[kChannels].offset,
                         "channel " + std::to_string(channel) + " cannot be");
        }
        split.channel[i] = channel < 0 ? 0 : channel;
        // shares holds the copies made so far, plus one.
        split.below[i] = channel < 0 ? 1e30f : 127.f * shares[channel];
        if (channel >= 0) shares[channel] += 1;
      }
      for (size_t i = 0; i < hidden; i++) shares[i] = 1.f / shares[i];
      channels += shape_.slots;
      shares += hidden;
    }
    for (uint32_t l = 0; l < kBlockLinears; l++) {
      const LinearShape linear = LinearShapeOf(shape_, static_cast<BlockLinear>(l));
      block.linears[l] = {panels, columns, columns + linear.outputs, sums,
                          static_cast<uint32_t>(linear.inputs)};
      const size_t panel_bytes = linear.inputs * kEncoderPanel;
      for (size_t p = 0; p < linear.outputs / kEncoderPanel; p++, panels += panel_bytes) {
        for (size_t i = 0; i < panel_bytes; i += 4) {
          sums[i / 4 % kEncoderPanel] += panels[i] + panels[i + 1] + panels[i + 2] + panels[i + 3];
        }
        sums += kEncoderPanel;
      }
      columns += 2 * linear.outputs;
    }
    for (EncoderNorm& of_block : block.norms) of_block = next_norm();
  }
  const float* dense = floats(kDense);
  for (int i = 0; i < 2; i++) {
    const size_t padded = shape_.dense[i].PaddedOutputs();
    dense_[i] = {dense, dense + shape_.DenseInputs(i) * padded};
    dense = dense_[i].bias + padded;
  }
  return Status::Ok();
}

}  // namespace maxsim

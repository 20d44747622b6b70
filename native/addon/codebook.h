// class Codebook: what a residual codec has learned, as JavaScript holds it.
#ifndef MAXSIM_ADDON_CODEBOOK_H_
#define MAXSIM_ADDON_CODEBOOK_H_

#include <napi.h>

#include <memory>

#include "index/segment_format.h"

namespace maxsim::addon {

class CodebookObject : public Napi::ObjectWrap<CodebookObject> {
 public:
  // From JavaScript it cannot be constructed: trainCodebook and readCodebook do.
  explicit CodebookObject(const Napi::CallbackInfo& info);
  static Napi::Value Create(Napi::Env env, std::shared_ptr<const Codebook> codebook);

  Napi::Value Bits(const Napi::CallbackInfo& info);
  Napi::Value Dim(const Napi::CallbackInfo& info);
  Napi::Value CentroidCount(const Napi::CallbackInfo& info);
  Napi::Value TrainedTokens(const Napi::CallbackInfo& info);
  Napi::Value SizeBytes(const Napi::CallbackInfo& info);
  Napi::Value Crc(const Napi::CallbackInfo& info);

 private:
  friend bool ToCodebook(const Napi::Value&, VectorFormat*);
  std::shared_ptr<const Codebook> codebook_;  // null only while a constructor fails
  uint32_t crc32c_ = 0;
};

// Fills in the format's codebook and its checksum.
bool ToCodebook(const Napi::Value& value, VectorFormat* format);

}  // namespace maxsim::addon

#endif  // MAXSIM_ADDON_CODEBOOK_H_

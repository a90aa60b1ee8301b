#include "server/service/blob.h"

#include <algorithm>
#include <utility>

#include "compression/payload.h"
#include "core/hash.h"

namespace muster {
namespace {

SharedBytes ValuesOf(std::shared_ptr<const std::vector<float>> values) {
  const std::string_view bytes(reinterpret_cast<const char*>(values->data()), values->size() * sizeof(float));
  return {bytes, std::move(values)};
}

}  // namespace

Blob::Blob(std::vector<SharedBytes> pieces) : pieces_(std::move(pieces)) {
  std::vector<std::string_view> views;
  for (const SharedBytes& piece : pieces_) {
    views.push_back(piece.bytes);
    size_ += static_cast<int64_t>(piece.bytes.size());
  }
  sha256_ = Sha256(views);
}

std::vector<SharedBytes> Blob::Range(int64_t offset, int64_t length) const {
  auto skip = static_cast<size_t>(offset), left = static_cast<size_t>(length);
  std::vector<SharedBytes> range;
  for (const SharedBytes& piece : pieces_) {
    if (skip >= piece.bytes.size()) {
      skip -= piece.bytes.size();
      continue;
    }
    const std::string_view part = piece.bytes.substr(skip, left);
    if (!part.empty()) range.push_back({part, piece.owner});
    left -= part.size();
    skip = 0;
  }
  return range;
}

std::string Blob::Bytes() const {
  std::string bytes;
  for (const SharedBytes& piece : pieces_) bytes += piece.bytes;
  return bytes;
}

std::shared_ptr<const Blob> ModelBlob(const Layout& layout, std::shared_ptr<const std::vector<float>> model) {
  const auto header = std::make_shared<const std::string>(PayloadHeader(kIdentityCodec, layout));
  return std::make_shared<const Blob>(
      std::vector<SharedBytes>{{std::string_view(*header), header}, ValuesOf(std::move(model))});
}

std::shared_ptr<const Blob> PayloadBlob(std::shared_ptr<const Payload> payload) {
  const std::string_view bytes = payload->view();
  return std::make_shared<const Blob>(std::vector<SharedBytes>{{bytes, std::move(payload)}});
}

std::shared_ptr<const Blob> VectorBlob(std::shared_ptr<const std::vector<float>> values) {
  return std::make_shared<const Blob>(std::vector<SharedBytes>{ValuesOf(std::move(values))});
}

}  // namespace muster

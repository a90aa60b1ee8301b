// No memory: what a compressor loses is lost.
#include "compression/error_feedback.h"

namespace muster {
namespace {

class None final : public ErrorFeedback {
 public:
  None(const NoOptions& /*options*/, const Context& context) : context_(context) {}

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& /*memory*/) const override {
    return context_.compressor->Compress(update, *context_.layout, key);
  }
  const Compressor* Memoryless() const override { return context_.compressor; }

 private:
  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback, Plugin("none", "No memory: what the compressor loses is lost").Make<None>());

}  // namespace
}  // namespace muster

#include "client/task_runner.h"

#include <utility>

#include "core/random.h"

namespace muster {
namespace {

constexpr char kFeedback[] = "feedback";  // its part of what a client remembers

// Extra vectors may be of any size; each is encoded under a layout of its own.
absl::StatusOr<Payload> EncodeExtra(const std::string& name, std::span<const float> values,
                                    const RandomKey& key) {
  static const std::unique_ptr<Compressor> identity =
      *Registry<Compressor>::Get().Create({.name = "identity", .options = {}}, {});
  return identity->Compress(values, ExtraLayout(name, static_cast<int64_t>(values.size())), key);
}

absl::StatusOr<Payload> EncodeOnDevice(const Compressor& compressor, std::shared_ptr<const DeviceVector> x,
                                       const Layout& layout, const RandomKey& key, bool leave) {
  if (compressor.codec() != kIdentityCodec) return compressor.CompressOnDevice(*x, layout, key);
  Payload payload{.bytes = PayloadHeader(kIdentityCodec, layout), .on_device = std::move(x)};
  if (!leave) MUSTER_RETURN_IF_ERROR(FetchPayload(payload));
  return payload;
}

}  // namespace

bool TaskRunner::Run(Trainer& trainer, const ErrorFeedback& feedback, TrainingJob job, ConstParameters global,
                     const State& memory, LocalUpdate& update, TaskFailure& failure, bool leave_on_device) {
  const auto fail = [&failure](const char* stage, const absl::Status& status) {
    failure = {stage, status};
    return false;
  };
  delta_.resize(global.size());
  State trainers = memory;  // without the part of error feedback
  State encoders = TakeUnder(kFeedback, trainers);
  State trainers_before = trainers;
  const Compressor* const compressor = feedback.Memoryless();
  job.may_stay = compressor != nullptr;
  absl::StatusOr<TrainingResult> trained = trainer.Train(job, global, delta_, trainers);
  if (!trained.ok()) return fail("train", trained.status());
  const RandomKey key{job.seed, Purpose::kCompression, static_cast<uint64_t>(job.round),
                      static_cast<uint64_t>(job.client)};
  State refused = encoders;
  const bool stayed = trained->on_device != nullptr;
  absl::StatusOr<Payload> payload =
      stayed ? EncodeOnDevice(*compressor, trained->on_device, trainer.layout(), key, leave_on_device)
             : feedback.Encode(delta_, key, encoders);
  if (!payload.ok()) return fail("compress", payload.status());
  const absl::Status status = stayed ? absl::OkStatus() : feedback.Refused(delta_, refused);
  if (!status.ok()) return fail("compress", status);
  update.extras.clear();
  for (const auto& [name, values] : trained->extras) {
    absl::StatusOr<Payload> extra = EncodeExtra(name, values, key);
    if (!extra.ok()) return fail("compress", Annotate(extra.status(), name));
    update.extras[name] = *std::move(extra);
  }
  trained->extras.clear();
  trained->on_device.reset();
  update.training = *std::move(trained);
  update.payload = *std::move(payload);
  update.if_taken = std::move(trainers);
  PutUnder(kFeedback, std::move(encoders), update.if_taken);
  update.if_refused = std::move(trainers_before);
  PutUnder(kFeedback, std::move(refused), update.if_refused);
  return true;
}

}  // namespace muster

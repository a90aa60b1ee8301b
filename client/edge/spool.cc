#include "client/edge/spool.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/hash.h"

namespace muster::edge {

Spool::Spool(std::string folder) : folder_(std::move(folder)) {
  if (auto left = Read(); left.ok()) {
    update_ = *std::move(left);
  } else {
    Remove();
  }
}

absl::Status Spool::Put(const std::string& federation, int64_t round, int64_t client,
                        const LocalUpdate& update) {
  Remove();
  v1::UploadHeader header;
  header.set_federation(federation);
  header.set_round(round);
  header.set_client(client);
  header.set_payload_size(update.payload.size());
  header.set_num_samples(update.training.num_samples);
  header.set_train_loss(update.training.train_loss);
  header.set_steps(update.training.steps);
  header.set_seconds(update.training.seconds);
  for (const auto& [name, values] : update.training.numbers) {
    (*header.mutable_numbers())[name].mutable_values()->Assign(values.begin(), values.end());
  }
  std::vector<std::string_view> pieces = {update.payload.view()};
  for (const auto& [name, payload] : update.extras) {
    v1::Part& part = *header.add_extras();
    part.set_name(name);
    part.set_size(payload.size());
    pieces.push_back(payload.view());
  }
  header.set_content_sha256(Sha256(pieces));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(Path("bytes"), pieces, /*sync=*/true));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(Path("taken"), SerializeState(update.if_taken), /*sync=*/true));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(Path("refused"), SerializeState(update.if_refused), /*sync=*/true));
  MUSTER_RETURN_IF_ERROR(WriteFileAtomic(Path("header"), header.SerializeAsString(), /*sync=*/true));
  MUSTER_ASSIGN_OR_RETURN(update_, Read());
  return absl::OkStatus();
}

void Spool::Remove() {
  update_.reset();
  for (const char* part : {"header", "taken", "refused", "bytes"}) ::unlink(Path(part).c_str());
}

absl::StatusOr<FinishedUpdate> Spool::Read() const {
  FinishedUpdate update;
  MUSTER_ASSIGN_OR_RETURN(const std::string header, ReadFile(Path("header")));
  if (!update.header.ParseFromString(header)) return InvalidInput(Path("header") + ": damaged");
  MUSTER_ASSIGN_OR_RETURN(update.bytes, MappedFile::Open(Path("bytes")));
  if (Sha256(update.bytes->bytes()) != update.header.content_sha256()) {
    return InvalidInput(Path("bytes") + ": is not what its header describes");
  }
  MUSTER_ASSIGN_OR_RETURN(const std::string taken, ReadFile(Path("taken")));
  MUSTER_ASSIGN_OR_RETURN(update.if_taken, ParseState(taken));
  MUSTER_ASSIGN_OR_RETURN(const std::string refused, ReadFile(Path("refused")));
  MUSTER_ASSIGN_OR_RETURN(update.if_refused, ParseState(refused));
  return update;
}

}  // namespace muster::edge

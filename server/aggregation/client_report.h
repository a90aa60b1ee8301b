// What came with one accepted update, beside its payload.
#ifndef MUSTER_SERVER_AGGREGATION_CLIENT_REPORT_H_
#define MUSTER_SERVER_AGGREGATION_CLIENT_REPORT_H_

#include <cstdint>
#include <optional>

#include "server/rounds/client_pool.h"

namespace muster {

struct ClientReport {
  ClientInfo client;
  double train_loss = 0;  // mean batch loss while training
  int64_t steps = 0;
  Numbers numbers;
  std::optional<double> deviation = {};  // ||update - aggregate||, where the selector needs it
};

// The one value, 0 or more, that the client told under this name (core/statistics.h); nullopt where it told
// none, or nonsense.
std::optional<double> Told(const ClientReport& report, const char* name);

}  // namespace muster

#endif  // MUSTER_SERVER_AGGREGATION_CLIENT_REPORT_H_

// What is behind a TcpStore, for the collectives that are made on it. Heavy: include it in .cc files only.
#ifndef MUSTER_SIMULATION_TCP_STORE_HANDLE_H_
#define MUSTER_SIMULATION_TCP_STORE_HANDLE_H_

#include <exception>
#include <string>
#include <string_view>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "learning/torch_message.h"
#include "simulation/tcp_store.h"

namespace muster {

struct TcpStore::Handle {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

// The first line of what LibTorch has to say, without its source positions.
inline std::string FirstLine(const std::exception& error) {
  const std::string line = TorchMessage(error.what());
  std::string_view text = line;
  if (const size_t trace = text.find(" (function "); trace != text.npos) text = text.substr(0, trace);
  if (const size_t place = text.find("] "); text.starts_with('[') && place != text.npos) {
    text.remove_prefix(place + 2);  // "[source.cc:123] "
  }
  return std::string(text);
}

}  // namespace muster

#endif  // MUSTER_SIMULATION_TCP_STORE_HANDLE_H_

// What a selector remembers of clients: rows of numbers, and their form in the journal.
#ifndef MUSTER_SERVER_SELECTION_CLIENT_NUMBERS_H_
#define MUSTER_SERVER_SELECTION_CLIENT_NUMBERS_H_

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/status.h"
#include "server/aggregation/client_report.h"

namespace muster {

// `Columns` numbers for each client that was ever asked; NaN stands for one that is not known.
template <size_t Columns>
using ClientNumbers = std::map<ClientId, std::array<double, Columns>>;

// {"round": r, "clients": [[id, number, ...], ...]}: `round` and `clients` as they were, to the bit.
template <size_t Columns>
std::string SaveClientNumbers(int64_t round, const ClientNumbers<Columns>& clients) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [id, numbers] : clients) {
    nlohmann::json& row = rows.emplace_back(nlohmann::json::array({id}));
    for (const double number : numbers) row.push_back(number);  // NaN becomes null
  }
  return nlohmann::json({{"round", round}, {"clients", std::move(rows)}}).dump();
}

// INVALID_ARGUMENT, with both as they were, for anything else.
template <size_t Columns>
absl::Status LoadClientNumbers(const std::string& state, int64_t& round, ClientNumbers<Columns>& clients) {
  try {
    const nlohmann::json json = nlohmann::json::parse(state);
    const auto loaded_round = json.at("round").get<int64_t>();
    ClientNumbers<Columns> loaded;
    for (const nlohmann::json& row : json.at("clients")) {
      if (row.size() != Columns + 1) return InvalidInput("the selector's state is damaged: a row's length");
      std::array<double, Columns>& numbers = loaded[row.at(0).get<ClientId>()];
      for (size_t i = 0; i < Columns; ++i) {
        const nlohmann::json& number = row.at(i + 1);
        numbers[i] = number.is_null() ? std::numeric_limits<double>::quiet_NaN() : number.get<double>();
      }
    }
    round = loaded_round;
    clients = std::move(loaded);
    return absl::OkStatus();
  } catch (const nlohmann::json::exception& error) {
    return InvalidInput(absl::StrCat("the selector's state is damaged: ", error.what()));
  }
}

}  // namespace muster

#endif  // MUSTER_SERVER_SELECTION_CLIENT_NUMBERS_H_

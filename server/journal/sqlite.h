// The little of SQLite that the journal needs, with its errors as Status.
#ifndef MUSTER_SERVER_JOURNAL_SQLITE_H_
#define MUSTER_SERVER_JOURNAL_SQLITE_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "absl/functional/function_ref.h"
#include "core/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace muster {

// One connection. Not thread-safe.
class Database {
 public:
  using Value = std::variant<int64_t, std::string_view>;  // strings may hold any bytes
  // The current row of a result; columns count from 0.
  class Row {
   public:
    explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
    int64_t Integer(int column) const;
    std::string Bytes(int column) const;

   private:
    sqlite3_stmt* const statement_;
  };

  // The database at `path`; it is made if `create` is set.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, bool create);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs one statement with its `?` bound to `values`; `on_row` sees every row of the result. Errors name the
  // file: INVALID_ARGUMENT for one that is damaged, INTERNAL for the rest (disk full, ...).
  absl::Status Run(
      const std::string& sql, std::initializer_list<Value> values = {},
      absl::FunctionRef<void(const Row&)> on_row = [](const Row&) {});

 private:
  Database(std::string path, sqlite3* connection) : path_(std::move(path)), connection_(connection) {}
  absl::Status Error(int code) const;

  const std::string path_;
  sqlite3* const connection_;
  std::map<std::string, sqlite3_stmt*> statements_;  // by SQL text, prepared once
};

}  // namespace muster

#endif  // MUSTER_SERVER_JOURNAL_SQLITE_H_

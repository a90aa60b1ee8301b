#include "server/journal/sqlite.h"

#include <sqlite3.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace muster {

int64_t Database::Row::Integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Database::Row::Bytes(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, bool create) {
  sqlite3* connection = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(path.c_str(), &connection, flags, nullptr);
  auto database = std::unique_ptr<Database>(new Database(path, connection));
  if (code != SQLITE_OK) return database->Error(code);
  sqlite3_extended_result_codes(connection, 1);
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(connection_);
}

absl::Status Database::Run(const std::string& sql, std::initializer_list<Value> values,
                           absl::FunctionRef<void(const Row&)> on_row) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr) {
    const int code = sqlite3_prepare_v2(connection_, sql.c_str(), -1, &statement, nullptr);
    if (code != SQLITE_OK) return Error(code);
  }
  const absl::Cleanup reset = [statement] {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
  };
  int index = 0;
  for (const Value& value : values) {
    ++index;
    int code = SQLITE_OK;
    if (const auto* integer = std::get_if<int64_t>(&value)) {
      code = sqlite3_bind_int64(statement, index, *integer);
    } else {
      const std::string_view bytes = std::get<std::string_view>(value);
      // A null pointer would bind NULL, not the empty string.
      code = sqlite3_bind_text64(statement, index, bytes.empty() ? "" : bytes.data(), bytes.size(),
                                 SQLITE_STATIC, SQLITE_UTF8);
    }
    if (code != SQLITE_OK) return Error(code);
  }
  while (true) {
    const int code = sqlite3_step(statement);
    if (code == SQLITE_DONE) return absl::OkStatus();
    if (code != SQLITE_ROW) return Error(code);
    on_row(Row(statement));
  }
}

absl::Status Database::Error(int code) const {
  const int primary = code & 0xff;
  const char* what = connection_ != nullptr ? sqlite3_errmsg(connection_) : sqlite3_errstr(code);
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
    return InvalidInput(absl::StrCat(path_, ": damaged (", what, "); restore the run directory from a copy"));
  }
  return InternalError(absl::StrCat(path_, ": ", what));
}

}  // namespace muster

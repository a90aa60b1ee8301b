// Heartbeats of the MIT-BIH Arrhythmia Database (Moody and Mark 2001) cut to 187 samples at 125 Hz, with the
// inter-patient split of de Chazal et al. 2004: DS1 trains, DS2 tests. A client is a record, that is a
// patient.
#include "learning/datasets/data_file.h"
#include "learning/datasets/idx_file.h"

namespace muster {
namespace {

struct EcgOptions {
  std::string path;
};

class Ecg final : public DatasetLoader {
 public:
  Ecg(const EcgOptions& options, const Context& context) : path_(PathIn(context.folder, options.path)) {}

  absl::StatusOr<TrainTest> Load() const override {
    MUSTER_RETURN_IF_ERROR(RequireFolder(path_, "correct data.dataset.path"));
    IdxFiles train, test;
    MUSTER_ASSIGN_OR_RETURN(train.inputs, RequireInFolder(path_, "ds1-beats-idx2-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(train.labels, RequireInFolder(path_, "ds1-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.inputs, RequireInFolder(path_, "ds2-beats-idx2-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.labels, RequireInFolder(path_, "ds2-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(TrainTest data, ReadIdxDataset(train, test, 5));
    data.train.class_names = data.test.class_names = {"N", "S", "V", "F", "Q"};  // AAMI EC57
    MUSTER_ASSIGN_OR_RETURN(const std::string train_records,
                            RequireInFolder(path_, "ds1-records-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(const std::string test_records, RequireInFolder(path_, "ds2-records-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(data.train.groups["record"], ReadIds(train_records, -1, data.train.size()));
    MUSTER_ASSIGN_OR_RETURN(data.test.groups["record"], ReadIds(test_records, -1, data.test.size()));
    return data;
  }

 private:
  const std::string path_;
};

MUSTER_REGISTER(DatasetLoader,
                Plugin<EcgOptions>("ecg", "MIT-BIH heartbeats, 5 AAMI classes; group 'record'",
                                   "Moody and Mark 2001; split of de Chazal et al. 2004")
                    .Required("path", &EcgOptions::path,
                              "folder of ds1-* and ds2-* IDX files (beats, labels, records)", FilePath())
                    .Make<Ecg>());

}  // namespace
}  // namespace muster

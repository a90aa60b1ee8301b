// Wrong input of every kind: exit code 2, one helpful line, no run directory.
#include <gmock/gmock.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/e2e/fixture.h"

namespace muster {
namespace {

using ::testing::HasSubstr;

using WrongInputTest = Federation;

TEST_F(WrongInputTest, Configurations) {
  struct Case {
    const char* override_text;
    const char* says;
  };
  const Case cases[] = {
      {"training.optimizer=sdg", "unknown 'sdg', did you mean 'sgd'?"},
      {"training.optimizer.momentun=0.5", "did you mean 'momentum'?"},
      {"training.optimizer.momentum=1.5", "momentum: 1.5 is out of range"},
      {"training.epochs=0", "training.epochs: 0 is out of range"},
      {"training.epochs=two", "training.epochs: must be an integer"},
      {"training.batchsize=3", "did you mean 'batch_size'?"},
      {"trainning.epochs=1", "did you mean 'training'?"},
      {"training.loss=crossentropy", "training.loss"},
      {"training.loss=binary", "training.loss"},
      {"data.clients=0", "data.clients: 0 is out of range"},
      {"data.clients=100000", "data.clients"},
      {"data.partition={name: dirichlet, alpha: -1}", "alpha"},
      {"data.partition={name: natural, group: writer}", "natural clients"},
      {"data.train_limit=1.5", "data.train_limit: must be an integer"},
      {"data.pool=3", "data.pool"},
      {"data.trust.samples=100000", "data.trust.samples"},
      {"data.trust.samples=0", "data.trust.samples"},
      {"data.trust.source=validation", "validation_fraction"},
      {"data.dataset=fashion_mnst", "did you mean 'fashion_mnist'?"},
      {"model=cnnn", "did you mean 'cnn'?"},
      {"model={name: mlp, hidden: [0]}", "hidden"},
      {"model={name: torchscript, file: nowhere.pt}", "nowhere.pt"},
      {"federation.participation={name: fixed, clients: many}", "clients"},
      {"federation.rounds=-3", "federation.rounds: -3 is out of range"},
      {"pin.cohorts=nowhere.json", "nowhere.json"},
      {"pin.initial_model=train-images", "train-images"},
      {"pin.partition=train-images", "train-images"},
      {"seed=-1", "seed"},
      {"federation", "federation"},
  };
  for (const Case& wrong : cases) {
    const Result run = Simulate("run", {"--set", wrong.override_text});
    EXPECT_EQ(run.code, 2) << wrong.override_text << "\n" << run.error;
    EXPECT_THAT(run.error, HasSubstr(wrong.says)) << wrong.override_text;
    EXPECT_EQ(std::count(run.error.begin(), run.error.end(), '\n'), 1) << run.error;
    EXPECT_FALSE(std::filesystem::exists(Path("run"))) << wrong.override_text;
  }
}

TEST_F(WrongInputTest, Devices) {
  const auto refused = [this](const std::string& device, std::vector<std::string> command) {
    command.insert(command.end(), {"--device", device});
    const Result run = Run(command);
    EXPECT_EQ(run.code, 2) << command.front() << " " << device << "\n" << run.error;
    EXPECT_EQ(std::count(run.error.begin(), run.error.end(), '\n'), 1) << run.error;
    EXPECT_FALSE(std::filesystem::exists(Path("run"))) << device;
    return run.error;
  };
  const std::string config = Path("config.yaml");
  for (const char* device : {"gpu", "cuda:", "cuda:-1", "cuda:1x"}) {
    EXPECT_THAT(refused(device, {"simulate", config, "--out", Path("run")}),
                HasSubstr(absl::StrCat("--device ", device, ": must be cpu, cuda, or cuda:I")));
  }
  // No LibTorch with CUDA, no GPU, or not so many of them.
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"simulate", config, "--out", Path("run")},
        std::vector<std::string>{"client", config, "--coordinator", "127.0.0.1:1", "--insecure"},
        std::vector<std::string>{"coordinator", config, "--insecure", "--out", Path("run")}}) {
    EXPECT_THAT(refused("cuda:127", command), HasSubstr("--device cuda:127: ")) << command.front();
  }
}

TEST_F(WrongInputTest, ConfigurationFiles) {
  const Result missing = Run({"simulate", Path("nowhere.yaml")});
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.error, HasSubstr("nowhere.yaml"));
  WriteAll(Path("broken.yaml"), "name: x\ndata: [unclosed\n");
  const Result broken = Run({"validate", Path("broken.yaml")});
  EXPECT_EQ(broken.code, 2);
  EXPECT_EQ(std::count(broken.error.begin(), broken.error.end(), '\n'), 1) << broken.error;
  EXPECT_THAT(broken.error, HasSubstr("broken.yaml:"));
  EXPECT_EQ(Run({"simulate"}).code, 2);
  EXPECT_EQ(Run({"frobnicate"}).code, 2);
  EXPECT_EQ(Run({"resume", folder_}).code, 2);
  EXPECT_EQ(Run({"report", Path("nowhere")}).code, 2);
  EXPECT_EQ(Run({"list", "optimisers"}).code, 2);
}

TEST_F(WrongInputTest, DamagedData) {
  const std::string images = ReadAll(Path("train-images")), labels = ReadAll(Path("train-labels"));
  struct Case {
    const char* what;
    std::string images;
    std::string labels;
  };
  std::string huge = images;
  huge.replace(4, 4, "\x7f\xff\xff\xff");
  const Case cases[] = {
      {"empty images", "", labels},
      {"cut off images", images.substr(0, images.size() - 10), labels},
      {"images with a tail", images + "more", labels},
      {"header only", images.substr(0, 6), labels},
      {"a promise of two billion images", huge, labels},
      {"a web page", "<!DOCTYPE html><html><body>Not found</body></html>", labels},
      {"a picture", std::string("\x89PNG\r\n\x1a\n", 8) + images.substr(0, 500), labels},
      {"cut off gzip", std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b", 11), labels},
      {"too few labels", images, Header(1, {10}) + labels.substr(8, 10)},
      {"labels that are images", images, images},
      {"empty labels", images, ""},
      {"no samples", Header(3, {0, 8, 8}), Header(1, {0})},
  };
  for (const Case& damaged : cases) {
    WriteAll(Path("train-images"), damaged.images);
    WriteAll(Path("train-labels"), damaged.labels);
    const Result run = Simulate("run");
    EXPECT_EQ(run.code, 2) << damaged.what << "\n" << run.error;
    EXPECT_THAT(run.error, HasSubstr("train-")) << damaged.what;
    EXPECT_EQ(std::count(run.error.begin(), run.error.end(), '\n'), 1) << damaged.what << "\n" << run.error;
    EXPECT_FALSE(std::filesystem::exists(Path("run"))) << damaged.what;
  }
}

}  // namespace
}  // namespace muster

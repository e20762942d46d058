// Reconstruct a lost prediction from a bundle in TorchScript, without Python: reconstruct EXPORT_FOLDER
//
// The bundle must hold the deployed model and one parity model; queries are random numbers here.

#include <torch/script.h>

#include <iostream>
#include <limits>
#include <string>

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "give the export folder, and k, channels, height and width of queries\n";
    return 1;
  }
  const std::string folder = argv[1];
  const int64_t k = std::stoll(argv[2]), channels = std::stoll(argv[3]);
  const int64_t height = std::stoll(argv[4]), width = std::stoll(argv[5]);
  auto load = [&folder](const char* name) { return torch::jit::load(folder + "/" + name); };
  auto encoder = load("encoder.ts"), deployed = load("deployed.ts");
  auto parity_model = load("parity_model.ts"), decoder = load("decoder.ts");

  c10::InferenceMode guard;
  torch::manual_seed(0);
  const auto queries = torch::rand({1, k, channels, height, width});  // one group, scaled as bundle.json says
  const auto own = deployed.forward({queries.flatten(0, 1)}).toTensor();  // [k, classes]
  const auto parity_queries = encoder.forward({queries}).toTensor();      // [1, 1, …]
  const auto parity = parity_model.forward({parity_queries.flatten(0, 1)}).toTensor();

  const int64_t outputs = parity.size(1);  // codes with heads have longer parity outputs: predictions are padded
  auto worker_outputs = torch::zeros({1, k + 1, outputs});
  worker_outputs.narrow(1, 0, k).narrow(2, 0, own.size(1)).copy_(own.unsqueeze(0));
  worker_outputs.select(1, k).copy_(parity);
  auto arrived = torch::ones({1, k + 1}, torch::kBool);
  arrived.select(1, 0).fill_(false);  // the first prediction is late
  worker_outputs.select(1, 0).fill_(std::numeric_limits<float>::quiet_NaN());

  const auto predictions = decoder.forward({worker_outputs, arrived}).toTensor();  // [1, k, classes]
  std::cout << "own " << own[0].argmax().item<int64_t>() << "\nreconstructed";
  for (int64_t i = 0; i < predictions.size(2); ++i) std::cout << ' ' << predictions[0][0][i].item<float>();
  std::cout << '\n';
}

#include "loaders/grammar/token_trie.h"

#include <algorithm>

namespace klens::grammar {

TokenTrie::TokenTrie(std::vector<std::pair<std::string, int32_t>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  nodes_.clear();
  std::vector<uint32_t> path;  // nodes of the last token's bytes
  const std::string* last = nullptr;
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back())
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  for (const auto& [bytes, id] : tokens) {
    size_t common = 0;
    while (last != nullptr && common < last->size() && common < bytes.size() &&
           (*last)[common] == bytes[common])
      ++common;
    close(common);
    for (size_t at = common; at < bytes.size(); ++at) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<uint32_t>(tokens_.size()), static_cast<uint32_t>(at + 1),
                        static_cast<uint8_t>(bytes[at])});
    }
    tokens_.push_back(id);
    depth_ = std::max(depth_, static_cast<uint32_t>(bytes.size()));
    last = &bytes;
  }
  close(0);
  nodes_.push_back(
      {static_cast<uint32_t>(nodes_.size() + 1), static_cast<uint32_t>(tokens_.size()), 0, 0});
}

TokenTable::TokenTable(std::vector<std::string> all, std::vector<int32_t> stops)
    : bytes(std::move(all)), ends(std::move(stops)) {
  std::erase_if(ends,
                [&](int32_t id) { return id < 0 || static_cast<size_t>(id) >= bytes.size(); });
  for (const int32_t id : ends) bytes[static_cast<size_t>(id)].clear();
  std::vector<std::pair<std::string, int32_t>> longer, shorter;
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (bytes[id].empty()) continue;
    auto& list = bytes[id].size() > kShort ? longer : shorter;
    list.emplace_back(bytes[id], static_cast<int32_t>(id));
  }
  few = TokenTrie(std::move(longer));
  many = TokenTrie(std::move(shorter));
}

}  // namespace klens::grammar

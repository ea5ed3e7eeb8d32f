#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace klens::grammar {

// Tokens by their bytes, as a tree in preorder: what begins alike is looked at once.
class TokenTrie {
 public:
  struct Node {
    uint32_t end;     // one behind its subtree
    uint32_t tokens;  // the first of those that end here; they go on to the next node's
    uint32_t depth;   // bytes up to here, from 1
    uint8_t byte;
  };

  TokenTrie() = default;
  // Tokens with their bytes; none of them empty.
  explicit TokenTrie(std::vector<std::pair<std::string, int32_t>> tokens);

  uint32_t size() const { return static_cast<uint32_t>(nodes_.size() - 1); }
  const Node& node(uint32_t index) const { return nodes_[index]; }
  std::span<const int32_t> tokens(uint32_t index) const {
    return std::span(tokens_).subspan(nodes_[index].tokens,
                                      nodes_[index + 1].tokens - nodes_[index].tokens);
  }
  uint32_t depth() const { return depth_; }  // of the deepest

 private:
  std::vector<Node> nodes_ = {{1, 0, 0, 0}};  // one more at the end, for the last tokens
  std::vector<int32_t> tokens_;
  uint32_t depth_ = 0;
};

// A tokenizer as constraints see it.
struct TokenTable {
  // Tokens of more bytes are few; they are looked at apart from the others, so that what is known
  // of the many can be kept where a count is far from its bounds.
  static constexpr uint32_t kShort = 16;

  // `bytes` of each id: "" for one that no text is made of (special tokens, padding). `ends` are
  // those that end a turn; no text is made of them either.
  TokenTable(std::vector<std::string> bytes, std::vector<int32_t> ends);

  std::vector<std::string> bytes;  // by id
  std::vector<int32_t> ends;       // within the ids
  TokenTrie few, many;             // of more than kShort bytes, and of fewer
};

}  // namespace klens::grammar

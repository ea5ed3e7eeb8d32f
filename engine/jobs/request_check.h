#pragma once
#include <span>
#include <string>

#include "engine/jobs/quantize_job.h"

namespace klens {

// Refuses what cannot end well before anything is read or measured: an output that is the model
// itself, cannot be written or has no room, a budget that the shapes alone say cannot be met, a
// format, method or tensor type that is not there. out_path: "" for a dry run.
void check_request(const Model& model, const std::string& out_path, const QuantizeOptions& options);

// The formats that units may become where nobody names any: the usual ones and, as the smallest
// budget asks for them (Format::below), smaller ones; all, where it cannot be met otherwise.
std::string formats_for(const Model& model, const ProfileOptions& options,
                        std::span<const Budget> budgets);

// Makes what units are pinned to a candidate of theirs, whatever else is.
void add_pinned(const std::map<std::string, Choice>& pinned, Profile& profile);

}  // namespace klens

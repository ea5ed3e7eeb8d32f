#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/opencl/api.h"

namespace klens {

// What may be used of a device.
struct OpenClFeatures {
  bool rounded_division;         // a / b and sqrt are rounded to nearest
  bool integer_dot;              // dot products of four packed bytes
  bool in_place;                 // weights are read where the host has mapped them
  bool sub_groups;               // of 16 lanes that share what they read
  bool matrix;                   // products of small matrices of 8-bit integers by a sub-group
  bool command_buffers = false;  // launches recorded and replayed
};

// A feature by name, in the order in which to list them.
struct OpenClFeature {
  const char* name;
  const char* about;
  bool OpenClFeatures::*flag;
};
std::span<const OpenClFeature> opencl_features();

// A device of this machine.
struct OpenClInfo {
  cl_platform_id platform_id;
  cl_device_id device_id;
  std::string platform, platform_version, name, driver, version;
  std::string c_version;  // what programs are compiled as: "CL3.0"
  bool gpu, cpu, usable;
  std::string problem;  // why it is not usable; ""
  int64_t memory, largest_allocation, local_memory;
  int64_t units;
  bool fp16, fp64;
  bool keeps_programs;  // the driver has a cache of its own
  int matrix_lanes;     // the sub-group that multiplies matrices: 8 or 16; for others undefined
  bool matrix_model;    // they are multiplied by other means: for tests
  std::vector<int64_t> sub_group_sizes;  // none: it has no sub-groups, or does not say
  OpenClFeatures has, uses;              // `uses`: what KLENS_OPENCL_FEATURES leaves of it
};

// All of them, in the drivers' order. Throws Error where there is no libOpenCL or no platform.
std::vector<OpenClInfo> opencl_devices();

// The index-th of them; -1: the first GPU, else the first that is usable. Throws Error where it is
// not there or not usable.
OpenClInfo opencl_device(int index);

}  // namespace klens

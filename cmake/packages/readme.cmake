# Run where the tarball's contents are installed: says in its README what it needs of a system. Variables: LIBRARY,
# VERSION.
file(GLOB binaries ${CMAKE_INSTALL_PREFIX}/bin/* ${CMAKE_INSTALL_PREFIX}/lib/*.so.*)
list(APPEND binaries ${LIBRARY})

# The newest of some symbol versions that one of them asks for, as "2.34".
function(newest_version name result)
  set(newest 0)
  foreach(binary ${binaries})
    execute_process(COMMAND objdump -T ${binary} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "${name}_[0-9.]+" versions "${symbols}")
    foreach(version ${versions})
      string(REPLACE "${name}_" "" version ${version})
      if(version VERSION_GREATER newest)
        set(newest ${version})
      endif()
    endforeach()
  endforeach()
  set(${result} ${newest} PARENT_SCOPE)
endfunction()

newest_version(GLIBC glibc)
newest_version(GLIBCXX glibcxx)
file(WRITE ${CMAKE_INSTALL_PREFIX}/README "klens ${VERSION} for Linux on x86-64. Unpack it anywhere and run bin/klens; nothing is to be installed.

It needs of the system: the GNU C library ${glibc} or later, and libstdc++ with GLIBCXX_${glibcxx}. All else that it
links is in lib/, under licences of its own: oneTBB (Apache-2.0), PCRE2, utf8proc, xxHash, libedit, cpp-httplib (BSD and
MIT), and what those use. For OpenCL it opens the system's libOpenCL where there is one; mpirun is not supported.

To build programs with it: CMAKE_PREFIX_PATH (find_package(klens)) or PKG_CONFIG_PATH (lib/pkgconfig) of this folder.
")

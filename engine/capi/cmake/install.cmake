# cmake --install build/c --prefix dist: library, header, package files, and OpenVINO's runtime in lib/gsvnet.
install(TARGETS gsvnet EXPORT gsvnetTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/gsvnet.h include/gsvnet.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${repository}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/gsvnet)

if(GSVNET_OPENVINO AND GSVNET_INSTALL_OPENVINO)
  # The core, the CPU plugin and the ONNX reader, which it finds beside itself, and TBB, which it runs on. In a folder of
  # their own, so that no other TBB is replaced.
  get_filename_component(openvino_package ${OpenVINO_DIR} DIRECTORY)
  file(GLOB openvino_libraries ${openvino_package}/libs/libopenvino.so.* ${openvino_package}/libs/libtbb.so.*
    ${openvino_package}/libs/libopenvino_intel_cpu_plugin.so ${openvino_package}/libs/libopenvino_onnx_frontend.so.*)
  list(LENGTH openvino_libraries count)
  if(NOT count EQUAL 4)
    message(FATAL_ERROR "${openvino_package}/libs is not laid out as OpenVINO's wheel; configure with "
      "-DGSVNET_INSTALL_OPENVINO=OFF and ship OpenVINO as its own documentation says.")
  endif()
  install(FILES ${openvino_libraries} DESTINATION ${CMAKE_INSTALL_LIBDIR}/gsvnet)
  file(GLOB openvino_licenses ${openvino_package}/../openvino-*.dist-info/licenses)
  install(DIRECTORY ${openvino_licenses}/ DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/gsvnet/openvino)
  set_target_properties(gsvnet PROPERTIES INSTALL_RPATH "$ORIGIN/gsvnet")
else()
  set_target_properties(gsvnet PROPERTIES INSTALL_RPATH "$ORIGIN" INSTALL_RPATH_USE_LINK_PATH ON)
endif()

# Both package files find the prefix from where they lie: the tree may be moved.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_to_prefix ${pc_to_prefix})
configure_file(cmake/gsvnet.pc.in gsvnet.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gsvnet.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/gsvnet)
install(EXPORT gsvnetTargets NAMESPACE gsvnet:: FILE gsvnetConfig.cmake DESTINATION ${package})
write_basic_package_version_file(gsvnetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/gsvnetConfigVersion.cmake DESTINATION ${package})

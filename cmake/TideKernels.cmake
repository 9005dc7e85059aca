# The CUDA kernels, compiled by g++ over the emulator (kernels/emu/README.md): tide_kernels_emulated. What is true of
# them is tide_kernels_ref, the plain-C references of kernels/ref.

file(GLOB kernel_sources CONFIGURE_DEPENDS kernels/*.cu)
file(GLOB emulator_sources CONFIGURE_DEPENDS kernels/emu/*.cc)
file(GLOB reference_sources CONFIGURE_DEPENDS kernels/ref/*.c)

add_library(tide_kernels_ref STATIC EXCLUDE_FROM_ALL ${reference_sources})
target_link_libraries(tide_kernels_ref PUBLIC tide_flags m)
if(TIDE_CUDA)
  target_include_directories(tide_kernels_ref SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS})
else()
  target_include_directories(tide_kernels_ref PUBLIC kernels/emu/include)
endif()

# The emulator sees a kernel's memory accesses through the calls that -fsanitize=thread puts before each; neither that
# sanitizer's own runtime nor AddressSanitizer looks at them. So a build for ThreadSanitizer has no emulator.
# Nor has one for devices (TideCuda.cmake).
set(TIDE_EMULATOR ON)
if(TIDE_SANITIZE MATCHES "thread" OR TIDE_FUZZ OR TIDE_CUDA)
  set(TIDE_EMULATOR OFF)
endif()

# tide_device_sources(file...): compiled as C++ whose accesses are seen. Of a thread's own arrays an index past the end ends
# the program: with the sanitizer's words, or where it has no runtime by a trap.
function(tide_device_sources)
  set(bounds -fsanitize=bounds)
  if(NOT TIDE_SANITIZE MATCHES "undefined")
    list(APPEND bounds -fsanitize-undefined-trap-on-error)
  endif()
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX
    COMPILE_OPTIONS "-x;c++;-O1;-fno-sanitize=address;-fsanitize=thread;--param=tsan-instrument-func-entry-exit=0;${bounds}")
endfunction()

if(TIDE_EMULATOR)
  add_library(tide_emulator STATIC EXCLUDE_FROM_ALL ${emulator_sources})
  target_link_libraries(tide_emulator PUBLIC tide_flags Threads::Threads)
  target_include_directories(tide_emulator PUBLIC kernels/emu/include)
  # Its stacks are not the ones that AddressSanitizer knows.
  set_source_files_properties(${emulator_sources} PROPERTIES COMPILE_OPTIONS "-O2;-fno-sanitize=address")
  tide_device_sources(${kernel_sources})
  add_library(tide_kernels_emulated STATIC EXCLUDE_FROM_ALL ${kernel_sources})
  target_link_libraries(tide_kernels_emulated PUBLIC tide_emulator tide_kernels_ref)
  # The worker's CUDA backend, over the emulator.
  file(GLOB backend_sources CONFIGURE_DEPENDS inference/worker/cuda/*.c)
  add_library(tide_worker_emulated STATIC EXCLUDE_FROM_ALL ${backend_sources})
  target_link_libraries(tide_worker_emulated PUBLIC tide_worker tide_kernels_emulated)
endif()

# tide_emulated_worker(): tests/tide-worker-emulated, tide-worker over the emulator: a test program.
function(tide_emulated_worker)
  if(TIDE_EMULATOR)
    add_executable(tide-worker-emulated inference/worker/main.c)
    set_target_properties(tide-worker-emulated PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests ENABLE_EXPORTS ON)
    target_compile_definitions(tide-worker-emulated PRIVATE TIDE_CUDA)
    target_link_libraries(tide-worker-emulated PRIVATE tide_flags tide_worker_emulated)
  endif()
endfunction()

# What is there of the toolkit: TIDE_NVCC, TIDE_CUDA_INCLUDE, TIDE_CUDART, TIDE_NCCL. None of them is needed.
find_program(TIDE_NVCC nvcc PATHS /usr/local/cuda/bin)
if(TIDE_NVCC)
  get_filename_component(nvcc_real ${TIDE_NVCC} REALPATH)
  get_filename_component(nvcc_root ${nvcc_real}/../.. ABSOLUTE)
  find_path(TIDE_CUDA_INCLUDE nccl.h PATHS ${nvcc_root}/include)
  find_library(TIDE_CUDART cudart PATHS ${nvcc_root}/lib64 ${nvcc_root}/lib)
  find_library(TIDE_NCCL nccl PATHS ${nvcc_root}/lib64 ${nvcc_root}/lib)
endif()

# tide_nccl_test(dir): dir/toolkit/communicator_test.c over the real NCCL, the ctest kernel_nccl; skipped where there is none.
function(tide_nccl_test folder)
  if(TIDE_CUDA_INCLUDE AND TIDE_CUDART AND TIDE_NCCL AND NOT TIDE_SANITIZE MATCHES "thread")
    add_executable(nccl_kernel_test ${folder}/toolkit/communicator_test.c inference/worker/cuda/communicator.c)
    set_target_properties(nccl_kernel_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_include_directories(nccl_kernel_test SYSTEM PRIVATE ${TIDE_CUDA_INCLUDE})
    target_link_libraries(nccl_kernel_test PRIVATE tide_base ${TIDE_NCCL} ${TIDE_CUDART} ${TIDE_TEST_LIBS})
    add_test(NAME kernel_nccl COMMAND nccl_kernel_test)
  else()
    add_test(NAME kernel_nccl COMMAND sh -c "echo skipped: NCCL is not installed; exit 77")
    set_tests_properties(kernel_nccl PROPERTIES SKIP_RETURN_CODE 77)
  endif()
endfunction()

# tide_kernel_tests(dir): each dir/x_test.c is a cmocka program x_kernel_test, registered with ctest as kernel_x; dir/*.cu
# are kernels that break a rule on purpose.
function(tide_kernel_tests folder)
  if(NOT TIDE_EMULATOR)
    return()
  endif()
  file(GLOB broken CONFIGURE_DEPENDS ${folder}/*.cu)
  tide_device_sources(${broken})
  add_library(tide_kernels_broken STATIC EXCLUDE_FROM_ALL ${broken} ${folder}/nccl_interface.c)
  target_link_libraries(tide_kernels_broken PUBLIC tide_emulator)
  file(GLOB tests CONFIGURE_DEPENDS ${folder}/*_test.c)
  foreach(file IN LISTS tests)
    get_filename_component(program ${file} NAME_WE)
    string(REGEX REPLACE "_test$" "" name ${program})
    add_executable(${name}_kernel_test ${file})
    set_target_properties(${name}_kernel_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${name}_kernel_test PRIVATE tide_flags tide_worker_emulated tide_kernels_broken ${TIDE_TEST_LIBS})
    add_test(NAME kernel_${name} COMMAND ${name}_kernel_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
  add_test(NAME kernel_compiled COMMAND ${CMAKE_SOURCE_DIR}/${folder}/compiled)
  set_tests_properties(kernel_compiled PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900)
  add_test(NAME kernel_sheet COMMAND ${CMAKE_SOURCE_DIR}/${folder}/sheet)
endfunction()

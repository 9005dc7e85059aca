# tide_room, tide_program, tide_unit_tests: the three shapes that anything built here has.

add_library(tide_flags INTERFACE)
target_include_directories(tide_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(tide_flags INTERFACE _GNU_SOURCE TIDE_VERSION="${PROJECT_VERSION}")
target_compile_options(tide_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-unused-parameter -Wno-sign-conversion
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  -fno-omit-frame-pointer -fstack-protector-strong)
if(TIDE_WERROR)
  target_compile_options(tide_flags INTERFACE -Werror)
endif()
if(TIDE_SANITIZE)
  target_compile_options(tide_flags INTERFACE -fsanitize=${TIDE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(tide_flags INTERFACE -fsanitize=${TIDE_SANITIZE})
endif()

# tide_room(NAME FOLDERS dir... [ROOMS room...] [LIBS lib...]): the static library tide_NAME of all
# C and C++ files of the folders, but for the main.c of a program.
function(tide_room name)
  cmake_parse_arguments(R "" "" "FOLDERS;ROOMS;LIBS" ${ARGN})
  set(sources)
  foreach(folder IN LISTS R_FOLDERS)
    file(GLOB found CONFIGURE_DEPENDS ${folder}/*.c ${folder}/*.cc)
    list(APPEND sources ${found})
  endforeach()
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  add_library(tide_${name} STATIC ${sources})
  list(TRANSFORM R_ROOMS PREPEND tide_)
  target_link_libraries(tide_${name} PUBLIC tide_flags ${R_ROOMS} ${R_LIBS})
endfunction()

# tide_program(NAME MAIN file ROOMS room...)
function(tide_program name)
  cmake_parse_arguments(P "" "MAIN" "ROOMS" ${ARGN})
  add_executable(${name} ${P_MAIN})
  # Exported symbols: a crash names its functions (base/crash.h).
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin ENABLE_EXPORTS ON)
  list(TRANSFORM P_ROOMS PREPEND tide_)
  target_link_libraries(${name} PRIVATE tide_flags ${P_ROOMS})
  install(TARGETS ${name} RUNTIME)
endfunction()

# tide_written(FILE FOLDER word...): what `tidectl words` prints, as a file of the build that is installed.
function(tide_written file folder)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/${file} DEPENDS tidectl
    COMMAND tidectl ${ARGN} > ${CMAKE_BINARY_DIR}/${file} VERBATIM)
  set_property(GLOBAL APPEND PROPERTY TIDE_WRITTEN ${CMAKE_BINARY_DIR}/${file})
  install(FILES ${CMAKE_BINARY_DIR}/${file} DESTINATION ${CMAKE_INSTALL_DATADIR}/${folder})
endfunction()

# tide_unit_tests(dir): each dir/x_test.c is a cmocka program x_test, registered with ctest as x.
function(tide_unit_tests folder)
  set(rooms tide_gateway tide_ctl tide_auth tide_ratelimit tide_router tide_worker tide_status tide_base)
  file(GLOB tests CONFIGURE_DEPENDS ${folder}/*_test.c)
  foreach(file IN LISTS tests)
    get_filename_component(program ${file} NAME_WE)
    string(REGEX REPLACE "_test$" "" name ${program})
    add_executable(${program} ${file})
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${program} PRIVATE tide_flags ${rooms} ${TIDE_TEST_LIBS})
    add_test(NAME ${name} COMMAND ${program} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endfunction()

# tide_fixtures(dir [ROOMS room...]): each dir/x.c is a program x that tests start; over base and the rooms named.
function(tide_fixtures folder)
  cmake_parse_arguments(P "" "" "ROOMS" ${ARGN})
  file(GLOB programs CONFIGURE_DEPENDS ${folder}/*.c)
  foreach(file IN LISTS programs)
    get_filename_component(program ${file} NAME_WE)
    add_executable(${program} ${file})
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${program} PRIVATE tide_flags)
    foreach(room IN LISTS P_ROOMS)
      target_link_libraries(${program} PRIVATE tide_${room})
    endforeach()
    target_link_libraries(${program} PRIVATE tide_base)
  endforeach()
endfunction()

# tide_fuzz_targets(dir): each dir/x_fuzz.c is a program x_fuzz: with TIDE_FUZZ for libFuzzer (clang), else over
# dir/replay.c, and ctest runs it on dir/seeds/x as fuzz_x.
function(tide_fuzz_targets folder)
  set(rooms tide_gateway tide_auth tide_ratelimit tide_router tide_worker tide_base)
  file(GLOB targets CONFIGURE_DEPENDS ${folder}/*_fuzz.c)
  if(NOT TIDE_FUZZ)
    add_library(tide_replay OBJECT ${folder}/replay.c)
    target_link_libraries(tide_replay PRIVATE tide_flags)
  endif()
  foreach(file IN LISTS targets)
    get_filename_component(program ${file} NAME_WE)
    string(REGEX REPLACE "_fuzz$" "" name ${program})
    add_executable(${program} ${file})
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_libraries(${program} PRIVATE tide_flags ${rooms})
    if(TIDE_FUZZ)
      target_link_options(${program} PRIVATE -fsanitize=fuzzer)
    else()
      target_link_libraries(${program} PRIVATE tide_replay)
      add_test(NAME fuzz_${name} COMMAND ${program} ${CMAKE_SOURCE_DIR}/${folder}/seeds/${name})
    endif()
  endforeach()
endfunction()

# tide_assets(target folder): each folder/PAGE.EXT becomes `const struct str PAGE_asset_EXT` in a C
# file that is made at build time, so that pages, style sheets and scripts stay files of their kind.
# Run as a script (-P) it writes one of them: FROM, TO, NAME.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${FROM} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "(..)" "0x\\1," list "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n" list "${list}")
  file(WRITE ${TO} "#include \"base/str.h\"\n\nstatic const unsigned char bytes[] = {\n${list}};\n"
    "extern const struct str ${NAME};\nconst struct str ${NAME} = {(const char *)bytes, ${bytes}};\n")
  return()
endif()

function(tide_assets target folder)
  file(GLOB files CONFIGURE_DEPENDS ${folder}/*)
  foreach(file IN LISTS files)
    get_filename_component(page ${file} NAME_WE)
    get_filename_component(ext ${file} EXT)
    string(SUBSTRING ${ext} 1 -1 ext)
    set(source ${CMAKE_BINARY_DIR}/assets/${page}_${ext}.c)
    add_custom_command(OUTPUT ${source} DEPENDS ${file} ${CMAKE_CURRENT_FUNCTION_LIST_FILE}
      COMMAND ${CMAKE_COMMAND} -DFROM=${file} -DTO=${source} -DNAME=${page}_asset_${ext}
              -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
    target_sources(${target} PRIVATE ${source})
  endforeach()
endfunction()

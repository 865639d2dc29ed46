/*
 * What a shell is given so that it completes chainctl's words. The scripts know no
 * command and no option: at each Tab they ask the program, see completion.h.
 */
#include "tools/chainctl/shellscript.h"

static const char bash_script[] =
    "# Completion of chainctl for bash: chainctl --completion bash\n"
    "_chainctl () {\n"
    "  local words=() before='' last='' word kind text name\n"
    "  # Readline breaks words at = and :, the program does not.\n"
    "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD}\"; do\n"
    "    if [[ ${#words[@]} -gt 0 && ( $word =~ ^[=:]+$ || $last =~ ^[=:]+$ ) ]]; then\n"
    "      before=${words[-1]}\n"
    "      words[-1]+=$word\n"
    "    else\n"
    "      before=''\n"
    "      words+=(\"$word\")\n"
    "    fi\n"
    "    last=$word\n"
    "  done\n"
    "  [[ $last =~ ^[=:]+$ ]] && before=${words[-1]}\n"
    "  COMPREPLY=()\n"
    "  while IFS=$'\\t' read -r kind text _; do\n"
    "    case $kind in\n"
    "      word | part)\n"
    "        name=${text#\"$before\"}\n"
    "        [[ $name =~ ^[-A-Za-z0-9_=:,./@%+]*$ ]] || printf -v name %q \"$name\"\n"
    "        COMPREPLY+=(\"$name\")\n"
    "        [ \"$kind\" = word ] || compopt -o nospace 2>/dev/null\n"
    "        ;;\n"
    "      file | folder | program)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        kind=${kind/folder/directory} kind=${kind/program/command}\n"
    "        while IFS= read -r name; do\n"
    "          name=$text$name\n"
    "          COMPREPLY+=(\"${name#\"$before\"}\")\n"
    "        done < <(compgen -A \"$kind\" -- \"${words[-1]#\"$text\"}\")\n"
    "        ;;\n"
    "    esac\n"
    "  done < <(\"${COMP_WORDS[0]/#~\\//$HOME/}\" --complete \"${words[@]}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _chainctl chainctl\n";

static const char zsh_script[] =
    "#compdef chainctl\n"
    "# Completion of chainctl for zsh: chainctl --completion zsh\n"
    "_chainctl () {\n"
    "  local kind text meaning found=1\n"
    "  local -a names parts places\n"
    "  while IFS=$'\\t' read -r kind text meaning; do\n"
    "    case $kind in\n"
    "      word) names+=(\"${text//:/\\\\:}${meaning:+:$meaning}\") ;;\n"
    "      part) parts+=(\"$text\") ;;\n"
    "      file | folder | program) places+=(\"$kind\" \"$text\") ;;\n"
    "    esac\n"
    "  done < <(\"${words[1]/#\\~\\//$HOME/}\" --complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "  (( $#names )) && _describe -t names chainctl names && found=0\n"
    "  (( $#parts )) && compadd -S '' -a parts && found=0\n"
    "  for kind text in \"${(@)places}\"; do\n"
    "    compset -P \"${(b)text}\"\n"
    "    case $kind in\n"
    "      file) _files ;;\n"
    "      folder) _files -/ ;;\n"
    "      program) _command_names -e || _files ;;\n"
    "    esac && found=0\n"
    "  done\n"
    "  return found\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _chainctl ]; then _chainctl \"$@\"; else compdef _chainctl chainctl; fi\n";

const char *
chainctl_shellscript_find (const char *shell)
{
  if (g_strcmp0 (shell, "bash") == 0)
    return bash_script;
  return g_strcmp0 (shell, "zsh") == 0 ? zsh_script : NULL;
}

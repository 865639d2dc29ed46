/*
 * The command line of QEMU, or of its storage daemon, as /proc has it: read, never
 * believed further than what it says.
 */
#pragma once

#include <json-glib/json-glib.h>

/**
 * engine_commandline_parse_options:
 * @text: the value of an option: "a=b,c.d=e,,f", or a JSON object
 * @implied: (nullable): the key of a first word that has none
 * A word alone is a key that is "on". Returns: (transfer full) (element-type utf8 utf8): values by dotted key
 */
GHashTable *engine_commandline_parse_options (const char *text, const char *implied);

/** JSON in a word of a command line. Returns: (transfer full) (nullable): %NULL for what is no object, or nested beyond
 * what a chain of images needs: any user may start a process with such words */
JsonNode *engine_commandline_parse_json (const char *text);

/** Adds the members of @object to @options, their keys behind @prefix and a dot; "" is no prefix. */
void engine_commandline_add_object (GHashTable *options, const char *prefix, JsonObject *object);

/** Where a QMP monitor listens. */
typedef enum {
  ENGINE_COMMANDLINE_SOCKET,
  ENGINE_COMMANDLINE_ABSTRACT,
  ENGINE_COMMANDLINE_OTHER,
} EngineCommandlineKind;

/** @path: (nullable): as it stands there, perhaps relative; only of a socket */
typedef struct {
  EngineCommandlineKind kind;
  char *path;
} EngineCommandlineMonitor;

/**
 * EngineCommandline:
 * @daemon: a qemu-storage-daemon
 * @name: (nullable): -name guest=…; @uuid: (nullable): -uuid
 * @monitors: (element-type EngineCommandlineMonitor): where QMP is spoken and QEMU listens
 * @agent: (nullable): socket of the channel org.qemu.guest_agent.0
 * @sockets: (element-type utf8): the paths of all its character devices, those too that are no monitors
 */
typedef struct {
  gboolean daemon;
  char *name;
  char *uuid;
  GPtrArray *monitors;
  char *agent;
  GPtrArray *sockets;
} EngineCommandline;

/**
 * engine_commandline_parse:
 * @program: (nullable): the executable's path, where it can be seen
 * Returns: (transfer full) (nullable): %NULL where that is no QEMU
 */
EngineCommandline *engine_commandline_parse (const char *program, char **arguments);
void engine_commandline_free (EngineCommandline *line);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineCommandline, engine_commandline_free)

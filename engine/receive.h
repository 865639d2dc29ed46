/*
 * The verb `receive`: new images that others write to over NBD until they are
 * done. It needs no VM and no database.
 */
#pragma once

#include "engine/context.h"

/**
 * EngineReceiveDisk: one disk that is to come
 * @size: bytes
 * @format: "qcow2" or "raw"
 * @backing: (nullable): what lies below the new image
 */
typedef struct {
  char *name;
  gint64 size;
  char *format;
  char *backing;
} EngineReceiveDisk;

/**
 * EngineReceiveExport: one disk that is served
 * @end: of the last byte that was written to it; 0: none was
 * @allocated: bytes that its file takes, once it has come
 */
typedef struct {
  char *disk;
  char *path;
  char *uri;
  gint64 end;
  gint64 allocated;
} EngineReceiveExport;

/** @exports: (element-type EngineReceiveExport): they can be connected to now. */
typedef void (*EngineReceiveReady) (const GPtrArray *exports, gpointer data);

/**
 * EngineReceiveRequest:
 * @listen: an address as engine_listener_open() takes it
 * @folder: where the images are to lie
 * @disks: (element-type EngineReceiveDisk)
 * @tls_creds: (nullable): a folder with ca-cert.pem, server-cert.pem and server-key.pem
 * @ready: called once, with @data, when it is served
 */
typedef struct {
  const char *listen;
  const char *folder;
  const GPtrArray *disks;
  const char *tls_creds;
  EngineReceiveReady ready;
  gpointer data;
} EngineReceiveRequest;

/**
 * engine_receive_run:
 * Serves until something has been written and nobody has been connected for the context's timeout, then syncs.
 * Cancelled, it is done at once where something has been written, or may not have to be, and nobody is connected any
 * more; where nothing has, the images are removed again (%G_IO_ERROR_CANCELLED); else they stay
 * (%ENGINE_ERROR_INTERRUPTED). Raises %ENGINE_ERROR_USAGE, %ENGINE_ERROR_NO_SUCH_DISK, %ENGINE_ERROR_NO_SUCH_IMAGE,
 * %ENGINE_ERROR_EXISTS, %ENGINE_ERROR_REFUSED, %ENGINE_ERROR_UNSUPPORTED, %ENGINE_ERROR_FAILED before anything is
 * served, and nothing is left; %ENGINE_ERROR_PARTLY later, and the images stay. Returns: (transfer full) (element-type
 * EngineReceiveExport): empty in a dry run
 */
GPtrArray *engine_receive_run (EngineContext *context, const EngineReceiveRequest *request, GError **error)
    G_GNUC_WARN_UNUSED_RESULT;

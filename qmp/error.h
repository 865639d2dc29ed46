/*
 * Why speaking to QEMU or to its guest agent failed. One GError domain for
 * the whole folder: callers decide by code, people read the message, which
 * always names the command and what the peer answered.
 */
#pragma once

#include <glib.h>

#define QMP_ERROR (qmp_error_quark ())

/**
 * QmpError:
 * @QMP_ERROR_CONNECT: nobody listens at the address, or it cannot be reached
 * @QMP_ERROR_BUSY: it listens but gives no greeting: another client holds it
 * @QMP_ERROR_TIMEOUT: the peer was silent until the deadline
 * @QMP_ERROR_CLOSED: the peer closed the connection, or it was lost
 * @QMP_ERROR_PROTOCOL: what arrived is no JSON, no UTF-8, or not of QMP's form
 * @QMP_ERROR_TOO_LARGE: a message larger than the cap
 * @QMP_ERROR_COMMAND: the peer refused the command ("GenericError" and others)
 * @QMP_ERROR_COMMAND_NOT_FOUND: class "CommandNotFound": unknown or disabled
 * @QMP_ERROR_DEVICE_NOT_FOUND: class "DeviceNotFound"
 * @QMP_ERROR_UNSUPPORTED: this QEMU lacks a feature that is needed
 * @QMP_ERROR_ADDRESS: the address is not of the form unix:PATH or vsock:CID:PORT
 */
typedef enum {
  QMP_ERROR_CONNECT,
  QMP_ERROR_BUSY,
  QMP_ERROR_TIMEOUT,
  QMP_ERROR_CLOSED,
  QMP_ERROR_PROTOCOL,
  QMP_ERROR_TOO_LARGE,
  QMP_ERROR_COMMAND,
  QMP_ERROR_COMMAND_NOT_FOUND,
  QMP_ERROR_DEVICE_NOT_FOUND,
  QMP_ERROR_UNSUPPORTED,
  QMP_ERROR_ADDRESS,
} QmpError;

GQuark qmp_error_quark (void);

/** Whether the peer answered that it did not do it. */
gboolean qmp_error_is_refusal (const GError *failure);

/**
 * qmp_error_forgive_refusal:
 * @failure: (transfer full) (nullable)
 * For what may be done already, or need not be done. Returns: %FALSE with @failure raised where it is no refusal
 */
gboolean qmp_error_forgive_refusal (GError *failure, GError **error) G_GNUC_WARN_UNUSED_RESULT;

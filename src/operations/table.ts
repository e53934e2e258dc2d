import { element } from '../protocol/xml.ts'
import { deleteBucket, getBucketAcl, getBucketLocation, headBucket } from './buckets/bucket-basics.ts'
import { deleteBucketTagging, getBucketTagging, putBucketTagging } from './buckets/bucket-tagging.ts'
import { getBucketVersioning, putBucketVersioning } from './buckets/bucket-versioning.ts'
import { createBucket } from './buckets/create-bucket.ts'
import { listBuckets } from './buckets/list-buckets.ts'
import { listObjects, listObjectsV2, listObjectVersions } from './buckets/list-objects.ts'
import { abortMultipartUpload } from './multipart/abort-multipart-upload.ts'
import { completeMultipartUpload } from './multipart/complete-multipart-upload.ts'
import { createMultipartUpload } from './multipart/create-multipart-upload.ts'
import { listMultipartUploads } from './multipart/list-multipart-uploads.ts'
import { listParts } from './multipart/list-parts.ts'
import { uploadPartCopy } from './multipart/upload-part-copy.ts'
import { uploadPart } from './multipart/upload-part.ts'
import { copyObject } from './objects/copy-object.ts'
import { deleteObject } from './objects/delete-object.ts'
import { deleteObjects } from './objects/delete-objects.ts'
import { getObjectAcl, getObjectLegalHold, getObjectRetention } from './objects/object-settings.ts'
import { getObjectAttributes } from './objects/get-object-attributes.ts'
import { getObject, headObject } from './objects/get-object.ts'
import { deleteObjectTagging, getObjectTagging, putObjectTagging } from './objects/object-tagging.ts'
import { putObject } from './objects/put-object.ts'
import type { Operation } from './operation.ts'
import { defaultDocument, deletesNothing, noneById, notImplemented, unset } from './unavailable.ts'

/**
 * THE table: every S3 operation, one line each. A route that stands twice throws at boot. Four deprecated names of the model
 * (Get/PutBucketLifecycle, Get/PutBucketNotification) share the routes of their successors and are answered by those.
 */
export const operations: readonly Operation[] = [
  // Service and buckets
  listBuckets, createBucket, headBucket, deleteBucket, getBucketLocation, getBucketAcl,
  getBucketVersioning, putBucketVersioning, getBucketTagging, putBucketTagging, deleteBucketTagging,
  listObjects, listObjectsV2, listObjectVersions, listMultipartUploads, deleteObjects,

  // Objects
  putObject, getObject, headObject, deleteObject, copyObject, getObjectAttributes,
  getObjectTagging, putObjectTagging, deleteObjectTagging, getObjectAcl, getObjectLegalHold, getObjectRetention,

  // Multipart uploads
  createMultipartUpload, uploadPart, uploadPartCopy, completeMultipartUpload, abortMultipartUpload, listParts,

  // Settings that nobody can have made: reading them answers what S3 answers when nothing is configured
  unset('GetBucketPolicy', 'GET bucket ?policy', 'NoSuchBucketPolicy'),
  unset('GetBucketPolicyStatus', 'GET bucket ?policyStatus', 'NoSuchBucketPolicy'),
  deletesNothing('DeleteBucketPolicy', 'DELETE bucket ?policy'),
  unset('GetBucketCors', 'GET bucket ?cors', 'NoSuchCORSConfiguration', 's3:GetBucketCORS'),
  deletesNothing('DeleteBucketCors', 'DELETE bucket ?cors', 's3:PutBucketCORS'),
  unset('GetBucketLifecycleConfiguration', 'GET bucket ?lifecycle', 'NoSuchLifecycleConfiguration', 's3:GetLifecycleConfiguration'),
  deletesNothing('DeleteBucketLifecycle', 'DELETE bucket ?lifecycle', 's3:PutLifecycleConfiguration'),
  unset('GetBucketEncryption', 'GET bucket ?encryption', 'ServerSideEncryptionConfigurationNotFoundError', 's3:GetEncryptionConfiguration'),
  deletesNothing('DeleteBucketEncryption', 'DELETE bucket ?encryption', 's3:PutEncryptionConfiguration'),
  unset('GetBucketWebsite', 'GET bucket ?website', 'NoSuchWebsiteConfiguration'),
  deletesNothing('DeleteBucketWebsite', 'DELETE bucket ?website'),
  unset('GetPublicAccessBlock', 'GET bucket ?publicAccessBlock', 'NoSuchPublicAccessBlockConfiguration', 's3:GetBucketPublicAccessBlock'),
  deletesNothing('DeletePublicAccessBlock', 'DELETE bucket ?publicAccessBlock', 's3:PutBucketPublicAccessBlock'),
  unset('GetObjectLockConfiguration', 'GET bucket ?object-lock', 'ObjectLockConfigurationNotFoundError', 's3:GetBucketObjectLockConfiguration'),
  unset('GetBucketReplication', 'GET bucket ?replication', 'ReplicationConfigurationNotFoundError', 's3:GetReplicationConfiguration'),
  deletesNothing('DeleteBucketReplication', 'DELETE bucket ?replication', 's3:PutReplicationConfiguration'),
  unset('GetBucketOwnershipControls', 'GET bucket ?ownershipControls', 'OwnershipControlsNotFoundError'),
  deletesNothing('DeleteBucketOwnershipControls', 'DELETE bucket ?ownershipControls', 's3:PutBucketOwnershipControls'),
  unset('GetBucketMetadataConfiguration', 'GET bucket ?metadataConfiguration', 'MetadataConfigurationNotFound', 's3:GetBucketMetadataTableConfiguration'),
  unset('GetBucketMetadataTableConfiguration', 'GET bucket ?metadataTable', 'MetadataConfigurationNotFound'),
  defaultDocument('GetBucketNotificationConfiguration', 'GET bucket ?notification', 'NotificationConfiguration', [], 's3:GetBucketNotification'),
  defaultDocument('GetBucketLogging', 'GET bucket ?logging', 'BucketLoggingStatus'),
  defaultDocument('GetBucketAccelerateConfiguration', 'GET bucket ?accelerate', 'AccelerateConfiguration', [], 's3:GetAccelerateConfiguration'),
  defaultDocument('GetBucketRequestPayment', 'GET bucket ?requestPayment', 'RequestPaymentConfiguration', [element('Payer', 'BucketOwner')]),
  defaultDocument('GetBucketAbac', 'GET bucket ?abac', 'AbacStatus', [element('Status', 'Disabled')]),
  ...noneById('Analytics', 'analytics', 'ListBucketAnalyticsConfigurationResult'),
  ...noneById('IntelligentTiering', 'intelligent-tiering', 'ListBucketIntelligentTieringConfigurationsOutput'),
  ...noneById('Inventory', 'inventory', 'ListInventoryConfigurationsResult'), ...noneById('Metrics', 'metrics', 'ListMetricsConfigurationsResult'),

  // Not yet: 501 by name
  notImplemented('PutBucketPolicy', 'PUT bucket ?policy'),
  notImplemented('PutBucketCors', 'PUT bucket ?cors', 's3:PutBucketCORS'),
  notImplemented('PutBucketLifecycleConfiguration', 'PUT bucket ?lifecycle', 's3:PutLifecycleConfiguration'),
  notImplemented('PutBucketEncryption', 'PUT bucket ?encryption', 's3:PutEncryptionConfiguration'),
  notImplemented('PutBucketWebsite', 'PUT bucket ?website'),
  notImplemented('PutPublicAccessBlock', 'PUT bucket ?publicAccessBlock', 's3:PutBucketPublicAccessBlock'),
  notImplemented('PutObjectLockConfiguration', 'PUT bucket ?object-lock', 's3:PutBucketObjectLockConfiguration'),
  notImplemented('PutBucketReplication', 'PUT bucket ?replication', 's3:PutReplicationConfiguration'),
  notImplemented('PutBucketOwnershipControls', 'PUT bucket ?ownershipControls'),
  notImplemented('PutBucketNotificationConfiguration', 'PUT bucket ?notification', 's3:PutBucketNotification'),
  notImplemented('PutBucketLogging', 'PUT bucket ?logging'),
  notImplemented('PutBucketAccelerateConfiguration', 'PUT bucket ?accelerate', 's3:PutAccelerateConfiguration'),
  notImplemented('PutBucketRequestPayment', 'PUT bucket ?requestPayment'),
  notImplemented('PutBucketAbac', 'PUT bucket ?abac'),
  notImplemented('PutBucketAcl', 'PUT bucket ?acl'),
  notImplemented('CreateBucketMetadataConfiguration', 'POST bucket ?metadataConfiguration'),
  notImplemented('DeleteBucketMetadataConfiguration', 'DELETE bucket ?metadataConfiguration'),
  notImplemented('CreateBucketMetadataTableConfiguration', 'POST bucket ?metadataTable'),
  notImplemented('DeleteBucketMetadataTableConfiguration', 'DELETE bucket ?metadataTable'),
  notImplemented('UpdateBucketMetadataInventoryTableConfiguration', 'PUT bucket ?metadataInventoryTable'),
  notImplemented('UpdateBucketMetadataJournalTableConfiguration', 'PUT bucket ?metadataJournalTable'),
  notImplemented('UpdateBucketMetadataAnnotationTableConfiguration', 'PUT bucket ?metadataAnnotationTable'),
  notImplemented('CreateSession', 'GET bucket ?session'),
  notImplemented('ListDirectoryBuckets', 'GET service ?max-directory-buckets', 's3express:ListAllMyDirectoryBuckets'),
  notImplemented('PostObject', 'POST bucket', 's3:PutObject'),
  notImplemented('PutObjectAcl', 'PUT object ?acl'),
  notImplemented('PutObjectLegalHold', 'PUT object ?legal-hold'),
  notImplemented('PutObjectRetention', 'PUT object ?retention'),
  notImplemented('GetObjectTorrent', 'GET object ?torrent'),
  notImplemented('RestoreObject', 'POST object ?restore'),
  notImplemented('SelectObjectContent', 'POST object ?select&select-type=2'),
  notImplemented('RenameObject', 'PUT object ?renameObject'),
  notImplemented('UpdateObjectEncryption', 'PUT object ?encryption'),
  notImplemented('ListObjectAnnotations', 'GET object ?annotation'),
  notImplemented('GetObjectAnnotation', 'GET object ?annotation&annotationName'),
  notImplemented('PutObjectAnnotation', 'PUT object ?annotation'),
  notImplemented('DeleteObjectAnnotation', 'DELETE object ?annotation'),
  // Its path looks like a bucket named WriteGetObjectResponse; the route header tells it apart.
  notImplemented('WriteGetObjectResponse', 'POST bucket +x-amz-request-route', 's3-object-lambda:WriteGetObjectResponse'),
]

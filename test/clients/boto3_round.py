"""boto3 with its default settings against the server; prints one JSON object of what it saw. Arguments: endpoint, bucket, file, folder."""

import json
import os
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

endpoint, bucket, source, folder = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint)
seen = {}

s3.create_bucket(Bucket=bucket)
parts = TransferConfig(multipart_threshold=8 * 1024 * 1024, multipart_chunksize=8 * 1024 * 1024)
key = "large & ünïcode +1.bin"
s3.upload_file(source, bucket, key, ExtraArgs={"Metadata": {"colour": "blue"}, "ContentType": "application/x-large"}, Config=parts)
s3.download_file(bucket, key, os.path.join(folder, "large.back"), Config=parts)
head = s3.head_object(Bucket=bucket, Key=key)
seen["head"] = {"size": head["ContentLength"], "metadata": head["Metadata"], "type": head["ContentType"], "etag": head["ETag"]}

s3.copy({"Bucket": bucket, "Key": key}, bucket, "copied in parts", Config=parts)
s3.download_file(bucket, "copied in parts", os.path.join(folder, "copy.back"), Config=parts)

names = ["list/%03d é" % number for number in range(25)]
for name in names:
    s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="list/", PaginationConfig={"PageSize": 10}))
seen["pages"] = [len(page["Contents"]) for page in pages]
seen["inOrder"] = [entry["Key"] for page in pages for entry in page["Contents"]] == names
body = s3.get_object(Bucket=bucket, Key=names[3], Range="bytes=5-7")["Body"]
seen["range"] = body.read().decode()

waiter = s3.get_waiter("object_exists")
waiter.wait(Bucket=bucket, Key=names[0], WaiterConfig={"Delay": 1, "MaxAttempts": 1})
try:
    s3.get_object(Bucket=bucket, Key="not there")
except ClientError as error:
    seen["missing"] = [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]

seen["getUrl"] = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=600)
seen["putUrl"] = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "put by url"}, ExpiresIn=600)
s3v4 = boto3.client("s3", endpoint_url=endpoint, config=boto3.session.Config(signature_version="s3v4"))
seen["getUrl4"] = s3v4.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=600)

resource = boto3.resource("s3", endpoint_url=endpoint)
seen["deleted"] = len(resource.Bucket(bucket).objects.filter(Prefix="list/").delete()[0]["Deleted"])
seen["left"] = sorted(entry.key for entry in resource.Bucket(bucket).objects.all())
print(json.dumps(seen))

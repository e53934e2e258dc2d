"""Signs requests with botocore: a line of JSON in, a line of JSON out. Nothing is sent."""

import base64
import hashlib
import io
import json
import sys

import botocore
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from botocore.utils import percent_encode, percent_encode_sequence


def signed(ask):
    credentials = Credentials(ask['accessKeyId'], ask['secretAccessKey'])
    form = ask['form']
    url = 'http%s://%s/%s' % ('s' if form == 'v4-unsigned' else '', ask['host'], percent_encode(ask['path'], safe='/~'))
    params = ask['params']
    body = base64.b64decode(ask['body'])
    headers = dict(ask['headers'])
    context = {}
    if form == 'v4-trailer':
        context['checksum'] = {'request_algorithm': {'in': 'trailer', 'algorithm': 'crc32', 'name': 'x-amz-checksum-crc32'}}
        headers.update({'x-amz-trailer': 'x-amz-checksum-crc32', 'x-amz-decoded-content-length': str(len(body)), 'content-encoding': 'aws-chunked'})
        body = AwsChunkedWrapper(io.BytesIO(body), checksum_cls=Crc32Checksum, checksum_name='x-amz-checksum-crc32', chunk_size=ask['chunk']).read()
    if form == 'v4-unsigned':
        headers['Content-MD5'] = base64.b64encode(hashlib.md5(body).digest()).decode()
        context['has_streaming_input'] = True
    if form.startswith('v2') and params:
        # Version 2 signs what stands in the URL.
        url += '?' + percent_encode_sequence(params)
        params = {}
    if ask['method'] not in ('PUT', 'POST'):
        body = b''
    # The signer of URLs takes a body for parameters.
    request = AWSRequest(method=ask['method'], url=url, headers=headers, data=None if form.endswith('query') else body, params=dict(params))
    request.context.update(context)
    signer = {
        'v4-header': lambda: S3SigV4Auth(credentials, 's3', ask['region']),
        'v4-trailer': lambda: S3SigV4Auth(credentials, 's3', ask['region']),
        'v4-unsigned': lambda: S3SigV4Auth(credentials, 's3', ask['region']),
        'v4-query': lambda: S3SigV4QueryAuth(credentials, 's3', ask['region'], expires=300),
        'v2-header': lambda: HmacV1Auth(credentials, 's3', ask['region']),
        'v2-query': lambda: HmacV1QueryAuth(credentials, expires=300),
    }[form]()
    signer.add_auth(request)
    prepared = request.prepare()
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
    names = {text(name).lower(): text(value) for name, value in prepared.headers.items()}
    return {'url': prepared.url, 'headers': names, 'body': base64.b64encode(body).decode()}


print(json.dumps({'version': botocore.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps(signed(json.loads(line))), flush=True)

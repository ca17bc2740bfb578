#!/bin/bash
# Once for an account: a bucket; what head and workers may do; who reaches them. The head starts and ends instances of this
# cluster alone, a worker writes to the bucket and nothing else.
#
#   REGION=us-east-1 BUCKET=my-sweeps cluster/aws-setup.sh

set -euo pipefail
cd "$(mktemp -d)"
: "${REGION:?names the region}" "${BUCKET:?names the bucket, which is made}"
ACCOUNT=$(aws sts get-caller-identity --query Account --output text)
aws s3 mb "s3://$BUCKET" --region "$REGION"
aws iam create-service-linked-role --aws-service-name spot.amazonaws.com || true   # there is one already: fine

cat > tlsweep-worker.json <<EOF
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "arn:aws:s3:::$BUCKET"},
  {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
   "Resource": "arn:aws:s3:::$BUCKET/*"}]}
EOF
cat > tlsweep-head.json <<EOF
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "arn:aws:s3:::$BUCKET"},
  {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
   "Resource": "arn:aws:s3:::$BUCKET/*"},
  {"Effect": "Allow", "Action": ["ec2:DescribeInstances"], "Resource": "*"},
  {"Effect": "Allow", "Action": ["ec2:RunInstances"], "Resource": "*",
   "Condition": {"StringEquals": {"aws:RequestedRegion": "$REGION"}}},
  {"Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": "*",
   "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}}},
  {"Effect": "Allow", "Action": ["ec2:CreateTags", "ec2:TerminateInstances"], "Resource": "*",
   "Condition": {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "tlsweep"}}},
  {"Effect": "Allow", "Action": ["iam:PassRole"], "Resource": "arn:aws:iam::$ACCOUNT:role/tlsweep-worker"}]}
EOF
for NAME in tlsweep-head tlsweep-worker; do
  aws iam create-role --role-name "$NAME" --assume-role-policy-document '{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
  aws iam put-role-policy --role-name "$NAME" --policy-name tlsweep --policy-document "file://$NAME.json"
  aws iam create-instance-profile --instance-profile-name "$NAME"
  aws iam add-role-to-instance-profile --instance-profile-name "$NAME" --role-name "$NAME"
done

GROUP=$(aws ec2 create-security-group --region "$REGION" --group-name tlsweep --description tlsweep --query GroupId --output text)
aws ec2 authorize-security-group-ingress --region "$REGION" --group-id "$GROUP" --protocol all --source-group "$GROUP"
aws ec2 authorize-security-group-ingress --region "$REGION" --group-id "$GROUP" --protocol tcp --port 22 \
  --cidr "$(curl -s https://checkip.amazonaws.com)/32"        # your address; again when it changes

"""Forms of tokens that say themselves whose they are: a prefix that hardly any other text has, then random letters.

Kind, prefixes (one of them is always in the token), and the whole form.
"""

from __future__ import annotations

from typing import Final

PREFIXED: Final = (
    ("an AWS access key", "AKIA ASIA ABIA ACCA", r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    ("an AWS Bedrock key", "ABSK", r"\bABSK[A-Za-z0-9+/]{80,}"),
    ("an AWS session token", "IQoJb3JpZ2lu", r"\bIQoJb3JpZ2lu[A-Za-z0-9+/=]{100,}"),
    ("a Google API key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("a Google access token", "ya29.", r"\bya29\.[0-9A-Za-z_-]{30,}"),
    ("a Google refresh token", "1//0", r"\b1//0[0-9A-Za-z_-]{30,}"),
    ("a Google client secret", "GOCSPX-", r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
    ("an Azure client secret", "Q~", r"(?<![\w~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![\w~.-])"),
    ("an Azure DevOps token", "AZDO", r"\b[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}\b"),
    (
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|gh[su]_[0-9]{1,12}_eyJ[\w.-]{40,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    (
        "a GitLab token",
        "glpat- glrt- gldt- glptt- glcbt- glft- glagent- gloas- glsoat- glimt- glffct- glwt-",
        r"\bgl(?:pat|rt|dt|ptt|cbt|ft|agent|oas|soat|imt|ffct|wt)-[A-Za-z0-9_.-]{20,}",
    ),
    ("a Bitbucket token", "ATBB", r"\bATBB[A-Za-z0-9]{32}\b"),
    ("an Atlassian token", "ATATT3", r"\bATATT3[A-Za-z0-9_=-]{100,}"),
    ("a Hugging Face token", "hf_ api_org_", r"\b(?:hf_|api_org_)[A-Za-z]{30,40}\b|\bhf_[A-Za-z0-9]{30,}"),
    ("a PyPI token", "pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    ("an npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("a RubyGems key", "rubygems_", r"\brubygems_[0-9a-f]{48}\b"),
    ("a crates.io token", "cio", r"\bcio[A-Za-z0-9]{32}\b"),
    ("a NuGet key", "oy2", r"\boy2[a-z0-9]{43}\b"),
    ("an Artifactory key", "AKCp cmVmdGtu", r"\b(?:AKCp[A-Za-z0-9]{69}|cmVmdGtu[A-Za-z0-9]{56})\b"),
    ("a Docker Hub token", "dckr_pat_ dckr_oat_", r"\bdckr_[po]at_[A-Za-z0-9_-]{20,}"),
    ("a Slack token", "xoxa- xoxb- xoxe xoxp- xoxr- xoxs- xapp-", r"\b(?:xox[abeprs]|xapp)[.-][A-Za-z0-9.-]{10,}"),
    (
        "a Slack address that anybody may write to",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services/T\w{6,}/B\w{6,}/\w{16,}|(?:workflows|triggers)/\w{6,}/\w{6,}/\w{6,}(?:/\w{6,})?)",
    ),
    (
        "an address of a chat that anybody may write to",
        "/api/webhooks/ webhook.office.com/",
        r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[\w-]{60,}|\.webhook\.office\.com/webhookb2/[\w@/-]{80,}",
    ),
    ("an OpenAI key", "T3BlbkFJ", r"\bsk-[A-Za-z0-9_-]{10,200}T3BlbkFJ[A-Za-z0-9_-]{10,}"),
    ("an Anthropic key", "sk-ant-", r"\bsk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{40,}"),
    (
        "a key of a service for language models",
        "sk-or-v1- sk-lf- gsk_ r8_ pplx- xai- nvapi- pcsk_ lsv2_ wandb_v1_",
        (
            r"\b(?:sk-or-v1-[0-9a-f]{64}|sk-lf-[0-9a-f-]{36}|gsk_[A-Za-z0-9]{52}|r8_[A-Za-z0-9]{37}|pplx-[A-Za-z0-9]{48}"
            r"|xai-[A-Za-z0-9]{80}|nvapi-[A-Za-z0-9_-]{60,}|pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{50,}"
            r"|lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}|wandb_v1_[A-Za-z0-9_]{60,})\b"
        ),
    ),
    ("a Stripe key", "k_live_ whsec_", r"\b(?:[sr]k_live_[0-9A-Za-z]{20,}|whsec_[A-Za-z0-9+/]{32,})"),
    ("a Shopify token", "shpat_ shpca_ shppa_ shpss_", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b"),
    ("a SendGrid key", "SG.", r"\bSG\.[\w-]{16,32}\.[\w-]{30,64}"),
    ("a Mailgun key", "key-", r"\bkey-[0-9a-f]{32}\b"),
    ("a Twilio key", "SK", r"\bSK[0-9a-f]{32}\b"),
    ("a Databricks token", "dapi", r"\bdapi[0-9a-f]{32}\b"),
    ("a Vault token", "hvs. hvb. hvr.", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("a Terraform token", ".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    ("a Pulumi token", "pul-", r"\bpul-[0-9a-f]{40}\b"),
    ("a Doppler token", "dp.", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,}"),
    ("a DigitalOcean token", "oo_v1_ op_v1_ or_v1_", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    ("a Heroku key", "HRKU-", r"\bHRKU-[\w-]{36,}"),
    ("a Fly.io token", "FlyV1 fm2_", r"\bfm2_[A-Za-z0-9+/=_-]{80,}"),
    ("a Tailscale key", "tskey-", r"\btskey-[a-z]+-[\w-]{20,}"),
    ("a Supabase token", "sbp_", r"\bsbp_[0-9a-f]{40}\b"),
    ("a PlanetScale token", "pscale_", r"\bpscale_(?:tkn|pw|oauth)_[\w.=-]{32,}"),
    ("a Grafana token", "glsa_ glc_", r"\bgl(?:sa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|c_[A-Za-z0-9+/=]{60,})"),
    ("a New Relic key", "NRAK-", r"\bNRAK-[A-Z0-9]{27}\b"),
    ("a Sentry token", "sntrys_ sntryu_", r"\bsntry[su]_[A-Za-z0-9+/=_]{60,}"),
    ("a Postman key", "PMAK-", r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}\b"),
    ("a Linear key", "lin_api_", r"\blin_api_[A-Za-z0-9]{40}\b"),
    ("a Notion token", "ntn_", r"\bntn_[A-Za-z0-9]{40,}\b"),
    ("a Figma token", "figd_", r"\bfigd_[A-Za-z0-9_-]{40,}"),
    ("a Telegram bot's token", ":AA", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    ("an age private key", "AGE-SECRET-KEY-1", r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}"),
)
